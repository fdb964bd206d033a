"""Events of a real model server reach the portal over real HTTP, in any order, and the task ends as it ended there.

cog 0.23.1 is the model side of Replicate: it runs the model and sends the events. It has no reads, so a small platform
stands between: it keeps what cog last said for sure, answers reads as Replicate does, and hands every event on as it
came, signed on wish.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from django.utils.timezone import now
from standardwebhooks import Webhook

from tasks_app import connections
from tasks_app.models import Asset, AuditEntry, Generation, Role, Source
from tasks_app.polling.generation_pass import run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.memory import GenerationMemory
from tasks_app.services.generation_delivery import deliver_generation
from tasks_app.services.generation_queue import dispatch
from tasks_app.services.generations import submit_generation
from tasks_app.states import State
from tests.factories import make_generation_source, make_user
from tests.integration.generation.servers import running_cog
from tests.integration.live.server import running_server, wait_until
from tests.unit.sources.generation.replay import Remote, Say, Seen

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
MODEL = "acme/pixel"
FINAL = ("succeeded", "failed", "canceled")
OFFER = {
    "key": "pixel",
    "kind": "image",
    "label": "Pixel",
    "model": MODEL,
    "parameters": [{"name": "prompt"}, {"name": "steps", "type": "integer"}],
}
LONG = timedelta(minutes=10)


@dataclass
class Platform:
    """What Replicate is in front of cog. `told` are (event, the portal's answer), as cog sent them."""

    cog: str
    secret: str = ""
    origin: str = ""
    portal: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    told: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: threading.Event = field(default_factory=threading.Event)  # until then events are held back

    def answer(self, seen: Seen) -> Say | None:
        if seen.path == f"/v1/models/{MODEL}/predictions":
            return self._submit(seen.json)
        if seen.path.startswith("/from-cog/"):
            self._heard(seen.json)
            return Say(200)
        if seen.path == "/v1/predictions":
            return Say(200, {"next": None, "previous": None, "results": list(self.known.values())})
        remote_id = seen.path.removeprefix("/v1/predictions/").removesuffix("/cancel")
        if remote_id not in self.known:
            return Say(404, {"detail": "The requested resource could not be found."})
        if seen.path.endswith("/cancel"):
            requests.post(f"{self.cog}/predictions/{remote_id}/cancel", timeout=10)
        return Say(200, self.known[remote_id])

    def _submit(self, order: dict[str, Any]) -> Say:
        remote_id = f"gm3q{len(self.known):08d}"
        self.portal = order["webhook"]
        row = {
            "id": remote_id,
            "model": MODEL,
            "status": "starting",
            "input": order["input"],
            "created_at": datetime.now(UTC).isoformat(),
        }
        self.known[remote_id] = dict(row)
        hook = f"{self.origin}/from-cog/{remote_id}"
        requests.put(
            f"{self.cog}/predictions/{remote_id}",
            json={"input": order["input"], "webhook": hook},
            headers={"Prefer": "respond-async"},
            timeout=10,
        ).raise_for_status()
        return Say(201, row)

    def _heard(self, event: dict[str, Any]) -> None:
        assert self.gate.wait(20)
        with self.lock:
            row = self.known[event["id"]]
            if row["status"] not in FINAL:
                row.update(event)
            self.told.append((event, self.tell(event)))

    def tell(self, event: dict[str, Any], *, secret: str | None = None) -> int:
        """Send an event to the portal; its answer."""
        body, headers = json.dumps(event), {"Content-Type": "application/json"}
        if key := self.secret if secret is None else secret:
            at, event_id = datetime.now(UTC), f"msg_{len(self.told)}"
            headers |= {"webhook-id": event_id, "webhook-timestamp": str(int(at.timestamp()))}
            headers["webhook-signature"] = Webhook(key).sign(event_id, at, body)
        return requests.post(self.portal, data=body, headers=headers, timeout=10).status_code

    def has_ended(self) -> bool:
        return any(event["status"] in FINAL for event, _ in self.told)


@pytest.fixture(scope="module")
def cog() -> Iterator[str]:
    with running_cog() as url:
        yield url


@pytest.fixture(params=["", SECRET], ids=["unsigned", "signed"])
def platform(
    request: pytest.FixtureRequest, cog: str, transactional_db: None, settings: Any
) -> Iterator[Platform]:
    platform = Platform(cog, secret=request.param)
    with running_server() as web, Remote(platform.answer) as remote:
        settings.BASE_URL = f"http://127.0.0.1:{web.port}"
        platform.origin = remote.url
        yield platform


@contextmanager
def submitted(platform: Platform, **parameters: Any) -> Iterator[Generation]:
    """An order that the portal has sent, whose next question is far away."""
    sealed = connections.seal(platform.secret) if platform.secret else ""
    source = make_generation_source(
        kind="replicate",
        urls=[platform.origin],
        settings={"offers": [OFFER], "webhooks": True},
        webhook_secret_sealed=sealed,
    )
    task = submit_generation(
        source,
        actor=make_user(Role.OPERATOR),
        offer="pixel",
        parameters={"prompt": "ok", "steps": 3, **parameters},
        uploads={},
        team=None,
        idempotency_key="once",
    )
    dispatch()
    deliver_generation(task.pk)
    row = Generation.objects.select_related("task").get(pk=task.pk)
    assert row.answered_at is not None, row.hold_reason
    put_off(row)
    platform.gate.set()
    yield row
    connections.generation_client_of(source).close()


def put_off(row: Generation) -> None:
    Generation.objects.filter(pk=row.pk).update(ask_at=now() + LONG)
    Source.objects.filter(pk=row.task.source_id).update(next_pass_at=now() + LONG)


def is_woken(row: Generation) -> bool:
    fresh = Generation.objects.select_related("task__source").get(pk=row.pk)
    return fresh.ask_at is not None and fresh.ask_at <= now() and fresh.task.source.next_pass_at <= now()


def visit(row: Generation) -> None:
    source = Source.objects.get(pk=row.task.source_id)
    client = connections.generation_client_of(source)
    run_generation_pass(GenerationVisit(source, client, GenerationMemory()))
    row.task.refresh_from_db()
    row.refresh_from_db()


def test_a_task_ends_as_it_ended_there_whatever_comes_late(platform: Platform):
    with submitted(platform) as row:
        wait_until(platform.has_ended, 20, "the end at cog")
        assert {status for _, status in platform.told} == {200}
        row.task.refresh_from_db()
        assert row.task.state == State.PENDING, "an event writes nothing"
        assert is_woken(row)
        visit(row)
        assert (row.task.state, Asset.objects.filter(generation=row).count()) == (State.COMPLETED, 1)

        late = {"id": row.task.remote_id, "status": "processing", "logs": "", "metrics": {"late": 1}}
        assert platform.tell(late) == 200
        visit(row)
        assert (row.task.state, Asset.objects.filter(generation=row).count()) == (State.COMPLETED, 1)
        assert row.ask_at is None


def test_the_end_that_comes_before_the_start_is_the_end(platform: Platform):
    with submitted(platform) as row:
        wait_until(platform.has_ended, 20, "the end at cog")
        put_off(row)
        events = [event for event, _ in platform.told]
        backwards = sorted(events, key=lambda event: event["status"] not in FINAL)
        assert backwards[0]["status"] == "succeeded" and backwards[-1]["status"] == "processing"
        for number, event in enumerate(backwards):
            platform.told.append((event, 0))  # a new id for each
            assert platform.tell({**event, "metrics": {"again": number}}) == 200
            visit(row)
            assert row.task.state == State.COMPLETED
        assert Asset.objects.filter(generation=row).count() == 1


def test_a_failure_there_is_told_in_plain_words(platform: Platform):
    with submitted(platform, prompt="fail", steps=1) as row:
        wait_until(platform.has_ended, 20, "the end at cog")
        visit(row)
        assert (row.task.state, row.problem_kind) == (State.FAILED, "content_policy")
        assert "NSFW content detected" in row.task.error_line


def test_a_cancel_there_ends_the_task(platform: Platform):
    with submitted(platform, steps=200) as row:
        wait_until(lambda: platform.told, 20, "the first event of cog")
        client = connections.generation_client_of(Source.objects.get(pk=row.task.source_id))
        client.cancel(row.handle)
        wait_until(platform.has_ended, 20, "the end at cog")
        visit(row)
        assert row.task.state == State.CANCELLED


def test_a_forged_end_wakes_nobody(platform: Platform):
    with submitted(platform) as row:
        wait_until(platform.has_ended, 20, "the end at cog")
        put_off(row)
        forged = {"id": row.task.remote_id, "status": "failed", "error": "forged"}
        if platform.secret:
            other = "whsec_" + base64.b64encode(b"another").decode()
            assert [platform.tell(forged, secret=secret) for secret in ("", other)] == [401, 401]
            assert AuditEntry.objects.filter(action="webhook.refused").count() == 1
        platform.portal = platform.portal[:-10] + "xxxxxxxxx/"
        assert platform.tell(forged) == 404
        assert not is_woken(row)
        assert row.task.state == State.PENDING
