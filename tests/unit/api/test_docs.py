"""The description of the API and its page."""

import json

import pytest
from django.test import Client

from tests.factories import make_user

pytestmark = pytest.mark.django_db

OPERATIONS = {
    ("get", "/api/v1/tasks"),
    ("get", "/api/v1/tasks/{task_id}"),
    ("delete", "/api/v1/tasks/{task_id}"),
    ("post", "/api/v1/videos/generate"),
    ("post", "/api/v1/images/generate"),
    ("post", "/api/v1/workflow/generate"),
    ("post", "/api/v1/clones"),
}


def description() -> dict:
    answer = Client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_every_operation_is_described_once():
    found = description()
    assert found["openapi"].startswith("3.")
    operations = {(method, path) for path, item in found["paths"].items() for method in item}
    assert operations == OPERATIONS
    ids = [operation["operationId"] for item in found["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere():
    found = description()
    text = json.dumps(found)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names
    assert names <= set(found["components"]["schemas"])


def test_the_shape_of_a_task_is_the_documented_one():
    task = description()["components"]["schemas"]["TaskObject"]
    assert list(task["properties"]) == [
        "task_id",
        "status",
        "progress",
        "created_at",
        "updated_at",
        "completed_at",
        "result",
        "error",
    ]
    assert task["properties"]["status"]["enum"] == [
        "pending",
        "processing",
        "completed",
        "failed",
        "cancelled",
    ]


@pytest.mark.parametrize("is_signed_in", [True, False], ids=["signed in", "anonymous"])
def test_page_shows_every_operation_without_scripts_of_its_own(client, is_signed_in):
    if is_signed_in:
        client.force_login(make_user())
    answer = client.get("/api/v1/docs")
    assert answer.status_code == 200
    for method, path in OPERATIONS:
        assert f"{method.upper()} {path}" in answer.text
    assert "ws://testserver/ws/tasks/{task_id}" in answer.text
    assert "<script>" not in answer.text
    assert "https://" not in answer.text.replace("https://www.w3.org", "")
