"""Events of providers: forged, replayed, late, huge and odd ones change nothing; honest ones make the portal look."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils.timezone import now
from standardwebhooks import Webhook

from tasks_app import connections
from tasks_app.models import AuditEntry, Generation, Source, WebhookCall
from tasks_app.services import webhooks
from tasks_app.services.webhooks import receive
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source, make_source

pytestmark = pytest.mark.django_db
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
TOKEN = "t" * 43
LATER = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()


def make_replicate(*, secret: str = SECRET, **fields: Any) -> Source:
    sealed = connections.seal(secret) if secret else ""
    return make_generation_source(
        kind="replicate", webhook_secret_sealed=sealed, next_pass_at=now() + LATER, **fields
    )


def make_row(source: Source, **fields: Any) -> Generation:
    fields = {"state": State.PROCESSING, "webhook_token": TOKEN, "ask_at": now() + LATER, **fields}
    return make_generation(source, **fields)


def event(row: Generation, status: str = "succeeded", **changes: Any) -> bytes:
    return json.dumps(
        {"id": row.task.remote_id, "status": status, "output": "https://x.example/a.png"} | changes
    ).encode()


def signed(
    body: bytes, *, event_id: str = "msg_1", minutes: float = 0, secret: str = SECRET
) -> dict[str, str]:
    at = now() + timedelta(minutes=minutes)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode("utf-8", "replace")),
    }


def is_asked_now(row: Generation) -> bool:
    row.refresh_from_db()
    return row.ask_at is not None and row.ask_at <= now()


def is_visited_now(source: Source) -> bool:
    source.refresh_from_db()
    return source.next_pass_at <= now()


def test_a_signed_event_makes_the_portal_look_and_writes_nothing_itself():
    source = make_replicate()
    row = make_row(source)
    body = event(row)
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    assert is_asked_now(row) and is_visited_now(source)
    assert row.task.state == State.PROCESSING
    assert row.assets.count() == 0


def test_the_same_event_again_changes_nothing():
    source = make_replicate()
    row = make_row(source)
    body = event(row)
    headers = signed(body)
    assert receive(source.pk, TOKEN, headers, body) == 200
    Generation.objects.filter(pk=row.pk).update(ask_at=now() + LATER)
    assert receive(source.pk, TOKEN, headers, body) == 200
    assert not is_asked_now(row)
    assert WebhookCall.objects.count() == 1


def forged(body: bytes) -> dict[str, str]:
    return signed(body, secret="whsec_" + base64.b64encode(b"another").decode())


@pytest.mark.parametrize(
    "headers_of",
    [
        forged,
        lambda body: signed(body + b" "),
        lambda body: {},
        lambda body: signed(body, minutes=-6),
        lambda body: signed(body, minutes=6),
    ],
    ids=["another secret", "another body", "unsigned", "replayed late", "from the future"],
)
def test_an_event_that_is_not_the_sources_is_refused_and_audited_within_bounds(headers_of: Any):
    source = make_replicate()
    row = make_row(source)
    body = event(row)
    assert [receive(source.pk, TOKEN, headers_of(body), body) for _ in range(5)] == [401] * 5
    assert not is_asked_now(row) and not is_visited_now(source)
    assert WebhookCall.objects.count() == 0
    (entry,) = AuditEntry.objects.all()
    assert (entry.action, entry.result, entry.source_name) == ("webhook.refused", "refused", source.name)
    assert TOKEN not in json.dumps(entry.data) and SECRET not in json.dumps(entry.data)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 400),
        (b"[1, 2]", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 200_000, 400),
        (b'{"pad": "' + b" " * webhooks.MAX_BODY_BYTES + b'"}', 413),
        (b'{"id": "\\ud800\\u0000", "status": NaN}', 200),
    ],
    ids=["html", "list", "empty", "bytes", "deep", "huge", "odd text"],
)
def test_what_an_unsigned_event_may_hold(body: bytes, status: int):
    source = make_replicate(secret="")
    row = make_row(source)
    assert receive(source.pk, TOKEN, {}, body) == status
    assert is_asked_now(row) is (status == 200)


@pytest.mark.parametrize("body", [b"<html>", b"[1, 2]", b"\xff\xfe"], ids=["html", "list", "bytes"])
def test_a_signed_event_that_is_no_prediction_is_refused(body: bytes):
    source = make_replicate()
    row = make_row(source)
    assert receive(source.pk, TOKEN, signed(body), body) == 401
    assert not is_asked_now(row)


def test_an_unsigned_event_counts_by_its_token_and_once():
    source = make_replicate(secret="")
    row = make_row(source)
    first, second = event(row, "processing"), event(row)
    assert receive(source.pk, TOKEN, {}, first) == 200
    assert receive(source.pk, TOKEN, {}, second) == 200
    assert receive(source.pk, TOKEN, {}, second) == 200
    assert is_asked_now(row)
    assert WebhookCall.objects.count() == 2


def test_an_unsigned_event_speaks_of_no_other_task():
    source = make_replicate(secret="")
    row, other = make_row(source), make_row(source, webhook_token="o" * 43)
    assert receive(source.pk, TOKEN, {}, event(other)) == 200
    assert is_asked_now(row) and not is_asked_now(other)


def test_a_signed_event_about_another_task_of_the_source_is_looked_at_too():
    source = make_replicate()
    make_row(source)
    other = make_row(source, webhook_token="o" * 43)
    elsewhere = make_row(make_replicate(), webhook_token="e" * 43)
    elsewhere.task.remote_id = other.task.remote_id
    elsewhere.task.save()
    body = event(other)
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    assert is_asked_now(other) and not is_asked_now(elsewhere)


@pytest.mark.parametrize("case", ["token", "empty token", "odd token", "source", "cluster", "absurd source"])
def test_who_does_not_know_the_token_finds_nothing(case: str):
    source = make_replicate(secret="")
    row = make_row(source)
    make_row(source, webhook_token="")
    place = {"source": source.pk + 1, "cluster": make_source().pk, "absurd source": 10**30}
    given = {"token": "x" * 43, "empty token": "", "odd token": "ü\0" * 20}
    assert receive(place.get(case, source.pk), given.get(case, TOKEN), {}, event(row)) == 404
    assert not is_asked_now(row)
    assert not AuditEntry.objects.exists()


def test_a_token_opens_only_its_own_source():
    source, other = make_replicate(secret=""), make_replicate(secret="")
    row = make_row(source)
    assert receive(other.pk, TOKEN, {}, event(row)) == 404


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_a_late_event_leaves_what_has_ended_alone(state: State):
    source = make_replicate()
    row = make_row(source, state=state, ask_at=None)
    body = event(row, "processing")
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    row.refresh_from_db()
    assert row.ask_at is None and row.task.state == state
    assert not is_visited_now(source)


def test_an_event_that_overtakes_the_answer_of_its_submit_waits_for_it():
    source = make_replicate()
    row = make_row(source, answered_at=None, ask_at=None)
    body = event(row, id="gm3q")
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    row.refresh_from_db()
    assert row.ask_at is None


def test_a_paused_source_is_noted_and_not_visited():
    source = make_replicate(paused_at=now())
    row = make_row(source)
    body = event(row)
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    assert is_asked_now(row) and not is_visited_now(source)
    assert WebhookCall.objects.count() == 1


def test_a_question_that_is_due_is_not_put_off():
    source = make_replicate()
    due = now() - timedelta(seconds=30)
    row = make_row(source, ask_at=due)
    body = event(row)
    assert receive(source.pk, TOKEN, signed(body), body) == 200
    row.refresh_from_db()
    assert row.ask_at == due


def test_a_secret_that_cannot_be_opened_is_a_reason_to_come_again():
    source = make_replicate()
    Source.objects.filter(pk=source.pk).update(webhook_secret_sealed="gAAAA-of-another-key")
    row = make_row(source)
    assert receive(source.pk, TOKEN, signed(event(row)), event(row)) == 503
    assert not is_asked_now(row)


def test_a_flood_is_dammed():
    source = make_replicate(secret="")
    row = make_row(source)
    WebhookCall.objects.bulk_create(
        WebhookCall(source=source, event_id=str(number)) for number in range(webhooks.EVENTS_PER_MINUTE)
    )
    assert receive(source.pk, TOKEN, {}, event(row)) == 429
    WebhookCall.objects.update(at=now() - timedelta(minutes=2))
    assert receive(source.pk, TOKEN, {}, event(row)) == 200


def test_two_tasks_may_get_the_same_bytes():
    source = make_replicate(secret="")
    first, second = make_row(source), make_row(source, webhook_token="o" * 43)
    assert receive(source.pk, TOKEN, {}, b"{}") == receive(source.pk, "o" * 43, {}, b"{}") == 200
    assert is_asked_now(first) and is_asked_now(second)
