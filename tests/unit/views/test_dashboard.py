"""The dashboard: what runs, what failed, the week, the sources, the first steps."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tasks_app.models import Role
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_running_tasks_and_unseen_failures_of_a_day_are_shown() -> None:
    source = make_source()
    make_task(source, object_name="runs")
    make_task(source, state="failed", object_name="broke")
    make_task(source, state="failed", object_name="seen", acknowledged_at=now())
    make_task(source, state="failed", object_name="ancient", started_at=now() - timedelta(hours=25))
    text = signed_in(make_user(Role.VIEWER)).get("/").text
    assert "Start runs (100)" in text and "Start broke (100)" in text
    assert "Start seen" not in text and "Start ancient" not in text


def test_first_steps_can_be_hidden() -> None:
    client = signed_in(make_superuser())
    assert "First steps" in client.get("/").text
    client.post("/look", {"steps": "hidden"})
    assert "First steps" not in client.get("/").text


def test_acknowledging_is_offered_to_who_may() -> None:
    make_task(state="failed")
    assert "/acknowledge" in signed_in(make_user(Role.OPERATOR)).get("/").text
    assert "/acknowledge" not in signed_in(make_user(Role.VIEWER)).get("/").text


def test_grid_counts_types_by_outcome_of_seven_days_and_links_to_the_list() -> None:
    source = make_source()
    for state, count in (("completed", 3), ("failed", 2), ("processing", 1)):
        for _ in range(count):
            make_task(source, state=state, type="vzdump")
    make_task(source, state="completed", warnings=1, type="vzdump")
    make_task(source, state="completed", type="vzdump", started_at=now() - timedelta(days=8))
    answer = signed_in(make_user(Role.VIEWER)).get("/")
    row = answer.context["grid"][0]
    assert row["type"] == "vzdump"
    assert dict(row["cells"]) == {
        "completed": 3,
        "warnings": 1,
        "failed": 2,
        "cancelled": 0,
        "lost": 0,
        "open": 1,
    }
    assert "/tasks/?type=vzdump&amp;state=failed&amp;since=7d" in answer.text


def test_number_in_the_grid_is_the_number_in_the_list_behind_it() -> None:
    source = make_source()
    make_task(source, state="completed", type="vzdump")
    make_task(source, state="completed", warnings=1, type="vzdump")
    client = signed_in(make_user(Role.VIEWER))
    for state in ("completed", "warnings"):
        assert client.get(f"/tasks/?type=vzdump&state={state}&since=7d").text.count("<tr id=") == 1


def test_strangers_see_nothing_of_it() -> None:
    make_task(object_name="secret", state="failed")
    text = signed_in(make_user()).get("/").text
    assert "secret" not in text and "prod-" not in text


def test_silent_source_says_since_when() -> None:
    make_source(failing_since=now() - timedelta(hours=1))
    assert "Unreachable since" in signed_in(make_user(Role.VIEWER)).get("/").text


def test_first_steps_are_shown_to_an_admin_without_a_source() -> None:
    assert "First steps" in signed_in(make_superuser()).get("/").text
    assert "First steps" not in signed_in(make_user(Role.VIEWER)).get("/").text


def test_queries_do_not_grow_with_the_tasks() -> None:
    source = make_source()
    client = signed_in(make_user(Role.OPERATOR))
    make_task(source)
    make_task(source, state="failed")
    with CaptureQueriesContext(connection) as few:
        client.get("/")
    for _ in range(15):
        make_task(source)
        make_task(source, state="failed", type="vzdump")
    with CaptureQueriesContext(connection) as many:
        client.get("/")
    assert len(many) == len(few) <= 14


def test_htmx_gets_only_the_part_that_changes() -> None:
    answer = signed_in(make_user(Role.VIEWER)).get("/", headers={"HX-Request": "true"})
    assert answer.text.lstrip().startswith('<div id="dashboard"')
