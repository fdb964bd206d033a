"""Events of Replicate: signatures and their clock, and cog's recorded events out of order."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from tasks_app.sources.generation.base import WebhookRefused
from tasks_app.sources.generation.replicate_predictions import observation_of
from tasks_app.states import State
from tests.unit.sources.generation.replay import FOLDER
from tests.unit.sources.generation.test_replicate import FILE, ORIGIN, opened, prediction

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
NOW = datetime(2026, 11, 20, 8, 5, 0, tzinfo=UTC)
BODY = json.dumps(prediction(status="succeeded", output=FILE)).encode()


def signed(body: bytes = BODY, *, at: datetime = NOW, secret: str = SECRET, **changes: str) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp}
    headers["webhook-signature"] = Webhook(secret).sign("msg_1", at, body.decode("utf-8", "replace"))
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def parse(headers: dict[str, str], body: bytes = BODY, *, secret: str = SECRET) -> Any:
    with opened("http://127.0.0.1:1", secret=secret) as source:
        return source.parse_event(headers, body, now=NOW)


def test_a_signed_event_names_its_prediction():
    event = parse(signed())
    assert (event.event_id, event.remote_id) == ("msg_1", "gm3qorzdhgbfurvjtvhg6dckhu")
    assert event.observation.state is State.COMPLETED


def test_one_of_several_signatures_is_enough():
    headers = signed()
    headers["webhook-signature"] = "v1a,xyz v1,AAAA v1 " + headers["webhook-signature"]
    assert parse(headers).event_id == "msg_1"


@pytest.mark.parametrize("seconds", [-299, 299])
def test_five_minutes_of_clock_are_allowed(seconds: int):
    assert parse(signed(at=NOW + timedelta(seconds=seconds))).event_id == "msg_1"


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        ({}, BODY, "not signed"),
        (signed(webhook_id=""), BODY, "not signed"),
        (signed(webhook_signature=""), BODY, "not signed"),
        (signed(webhook_signature="v1,"), BODY, "wrong"),
        (signed(webhook_signature="v1,!!! v1 ,"), BODY, "wrong"),
        (signed(webhook_id="msg_2"), BODY, "wrong"),
        (signed(secret="whsec_" + base64.b64encode(b"another").decode()), BODY, "wrong"),
        (signed(), BODY.replace(b"succeeded", b"failed"), "wrong"),
        (signed(at=NOW - timedelta(seconds=301)), BODY, "too old"),
        (signed(at=NOW + timedelta(seconds=301)), BODY, "too old"),
        (signed(webhook_timestamp="9" * 40), BODY, "no time"),
        (signed(webhook_timestamp="nan"), BODY, "no time"),
        (signed(webhook_timestamp="-5"), BODY, "no time"),
        (signed(b"[]"), b"[]", "names no prediction"),
        (signed(b"<html>"), b"<html>", "not JSON"),
        (signed(b"[" * 100_000), b"[" * 100_000, "not JSON"),
        (signed(), b"\xff\xfe", "cannot be read"),
    ],
    ids=range(17),
)
def test_an_event_that_proves_nothing_is_refused(headers: dict[str, str], body: bytes, words: str):
    with pytest.raises(WebhookRefused, match=words):
        parse(headers, body)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ä"])
def test_without_a_usable_secret_nothing_is_believed(secret: str):
    with pytest.raises(WebhookRefused):
        parse(signed(), secret=secret)


def test_cogs_own_events_read_in_any_order():
    events = json.loads((FOLDER / "cog" / "webhooks.json").read_text())
    seen = [observation_of(event["body"], ORIGIN) for event in events]
    assert [one.state for one in seen if one and one.remote_id == "p1"] == [
        *[State.PROCESSING] * 4,
        State.COMPLETED,
        State.PROCESSING,  # late
    ]
    done = next(one for one in seen if one and one.state is State.COMPLETED)
    assert done.assets[0].data is not None and done.assets[0].data.startswith(b"\x89PNG")
    failed = next(one for one in seen if one and one.state is State.FAILED)
    assert failed.problem is not None and failed.problem.kind == "content_policy"
