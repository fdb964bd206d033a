"""The address where providers knock: no session, no cookie, no CSRF; only POST, only so much."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from tasks_app.services.webhooks import MAX_BODY_BYTES
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source

pytestmark = pytest.mark.django_db
TOKEN = "t" * 43


@pytest.fixture
def row():
    source = make_generation_source(kind="replicate")
    return make_generation(source, state=State.PROCESSING, webhook_token=TOKEN, ask_at=None)


def address(row, token: str = TOKEN) -> str:
    return reverse("portal:generation-webhook", args=[row.task.source_id, token])


def test_an_event_needs_neither_session_nor_csrf_token_and_gets_no_cookie(row):
    strict = Client(enforce_csrf_checks=True)
    answer = strict.post(address(row), b'{"id": "x"}', content_type="application/json")
    assert (answer.status_code, answer.content) == (200, b"")
    assert not answer.cookies
    assert "no-store" in answer["Cache-Control"]
    row.refresh_from_db()
    assert row.ask_at is not None and row.ask_at <= now()


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_only_post_is_heard(client, row, method):
    assert getattr(client, method)(address(row)).status_code == 405


def test_a_wrong_token_is_nothing_here(client, row):
    answer = client.post(address(row, "x" * 43), b"{}", content_type="application/json")
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize(
    ("said", "real"),
    [(None, MAX_BODY_BYTES + 1), (MAX_BODY_BYTES + 1, 2), (10**30, 2)],
    ids=["long", "said to be long", "said to be endless"],
)
def test_a_long_event_is_not_read(client, row, said, real):
    extra = {} if said is None else {"CONTENT_LENGTH": str(said)}
    body = b"{" + b" " * (real - 2) + b"}"
    assert client.post(address(row), body, content_type="application/json", **extra).status_code == 413


def test_a_length_that_is_none_is_refused(client, row):
    answer = client.post(address(row), b"{}", content_type="application/json", CONTENT_LENGTH="many")
    assert answer.status_code == 400


def test_how_many_queries_an_event_costs(client, row, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        client.post(address(row), b"{}", content_type="application/json")
