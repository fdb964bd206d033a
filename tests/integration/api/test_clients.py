"""Polling clients written for the task API, against the portal's real server with a scripted source behind it."""

import asyncio
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator

import pytest
import requests
from django.db import connections as database
from django.utils.timezone import now

from tasks_app import connections, jobs
from tasks_app.api import generate
from tasks_app.models import Asset, Generation, Role, Source, Task
from tasks_app.polling.generation_pass import run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.memory import GenerationMemory
from tasks_app.services.generation_delivery import deliver_generation
from tasks_app.services.generation_queue import dispatch
from tasks_app.services.results import copy_asset
from tests.factories import make_generation_source, make_user
from tests.integration.api import clients
from tests.integration.api.conftest import open_socket, token_of
from tests.integration.api.studio_stub import MP4, Studio
from tests.integration.live.server import Running

PICTURE = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
STEP = 0.03  # what the clients' seconds shrink to


class Workers(threading.Thread):
    """Everything the portal's workers would do, over and over, with all intervals as short as can be."""

    def __init__(self, source: Source) -> None:
        super().__init__(daemon=True)
        self.source = source
        self.trouble: BaseException | None = None
        self._ending = threading.Event()

    def run(self) -> None:
        memory = GenerationMemory()
        try:
            while not self._ending.wait(0.02):
                self._turn(memory)
        except BaseException as error:
            self.trouble = error
        finally:
            database.close_all()

    def _turn(self, memory: GenerationMemory) -> None:
        dispatch()
        for pk in (
            Generation.objects.unfinished().filter(answered_at__isnull=True).values_list("pk", flat=True)
        ):
            if Generation.objects.filter(pk=pk, lease_until__isnull=False).exists():
                deliver_generation(pk)
        Generation.objects.filter(ask_at__isnull=False).update(ask_at=now())
        for pk in Task.objects.cancels_waiting().values_list("pk", flat=True):
            jobs.cancel(pk)
        self.source.refresh_from_db()
        remote = connections.generation_client_of(self.source)
        run_generation_pass(GenerationVisit(self.source, remote, memory))
        for pk in Asset.objects.due(now()).values_list("pk", flat=True):
            copy_asset(pk)

    def stop(self) -> None:
        self._ending.set()
        self.join(10)
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def studio(web: Running, settings, tmp_path, monkeypatch) -> Iterator[Studio]:
    """A source behind the portal, and the portal's workers; jobs are not queued, they are found."""
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr("tasks_app.services.generation_queue.enqueue", lambda job, *args: None)
    with Studio().serving() as studio:
        source = make_generation_source(name="veo3", urls=[studio.url], settings={"limits": {"video": 2}})
        workers = Workers(source)
        workers.start()
        yield studio
        workers.stop()


@pytest.fixture
def token(studio: Studio) -> str:
    return token_of(make_user(Role.OPERATOR))


@pytest.fixture
def base(web: Running, token: str, tmp_path, monkeypatch) -> str:
    """The address that clients are given. They send nothing of their own: requests takes the token from a netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login token password {token}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    return f"http://127.0.0.1:{web.port}"


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """What the clients wanted to wait."""
    wanted: list[float] = []

    def pause(seconds: float) -> None:
        wanted.append(seconds)
        time.sleep(STEP)

    async def pause_async(seconds: float) -> None:
        wanted.append(seconds)
        await asyncio.sleep(STEP)

    monkeypatch.setattr(clients, "pause", pause)
    monkeypatch.setattr(clients, "pause_async", pause_async)
    return wanted


def submit(base: str, prompt: str) -> str:
    answer = requests.post(
        f"{base}/api/v1/videos/generate", json={"image": PICTURE, "prompt": prompt}, timeout=10
    )
    answer.raise_for_status()
    assert answer.json()["status"] == "pending"
    return answer.json()["task_id"]


def wait_for_copy(base: str, task_id: str) -> dict:
    """A completed task has its address a moment later."""
    until = time.monotonic() + 10
    while (task := clients.ask(base, task_id))["result"].get("copying"):
        assert time.monotonic() < until
        time.sleep(STEP)
    return task


def test_simple_loop_gets_the_result_and_the_bytes(base, studio, pauses):
    task_id = submit(base, "good")
    result = clients.follow_simply(base, task_id)
    assert result["service"] == "veo3"
    assert set(pauses) == {5}
    task = wait_for_copy(base, task_id)
    address = task["result"]["result"]["video_url"]
    assert address.startswith(f"{base}/results/")  # our copy; the source's own address is never told
    assert studio.url not in str(task)
    answer = requests.get(address, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, "video/mp4", MP4)
    assert len(studio.orders) == 1


def test_simple_loop_learns_why_it_failed(base):
    with pytest.raises(clients.TaskFailed) as caught:
        clients.follow_simply(base, submit(base, "bad"))
    assert clients.words_for(caught.value) == "change the input"


def test_simple_loop_learns_of_a_cancel(base):
    task_id = submit(base, "endless")
    answer = requests.delete(f"{base}/api/v1/tasks/{task_id}", timeout=10)
    assert (answer.status_code, answer.json()["success"], answer.json()["task_id"]) == (200, True, task_id)
    with pytest.raises(clients.TaskFailed, match="cancelled"):
        clients.follow_simply(base, task_id)
    assert requests.delete(f"{base}/api/v1/tasks/{task_id}", timeout=10).status_code == 409


def test_growing_intervals(base, pauses):
    task = clients.follow_with_backoff(base, submit(base, "good"))
    assert (task["status"], task["progress"]) == ("completed", 100)
    assert pauses[:3] == [2.0, 3.0, 4.5]
    assert max(pauses) <= 30.0


def test_intervals_by_progress(base, pauses):
    task, _ = clients.follow_by_progress(base, submit(base, "good"))
    assert task["status"] == "completed"
    assert set(pauses) <= {2, 3, 5}
    assert pauses[0] == 3  # a number from the first answer on, although there is no progress yet


def test_many_at_once_with_asyncio(base, token, studio):
    task_ids = [submit(base, prompt) for prompt in ("good", "bad", "good", "good", "bad")]
    headers = {"Authorization": f"Bearer {token}"}
    tasks = asyncio.run(clients.follow_many(base, task_ids, headers))
    assert [task["status"] for task in tasks] == ["completed", "failed", "completed", "completed", "failed"]
    assert [task["task_id"] for task in tasks] == task_ids
    assert len(studio.orders) == 5
    listed = requests.get(f"{base}/api/v1/tasks/", timeout=10).json()
    assert {task["task_id"] for task in listed} == set(task_ids)


def test_submit_with_retry_survives_faults_of_the_server(base, studio, pauses, monkeypatch):
    real, calls = generate.choose_offer, []

    def fails_twice(*args, **kwargs):
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("not today")
        return real(*args, **kwargs)

    monkeypatch.setattr(generate, "choose_offer", fails_twice)
    body = {"image": PICTURE, "prompt": "good"}
    assert clients.submit_with_retry(base, "/api/v1/videos/generate", body)["service"] == "veo3"
    assert pauses[:2] == [1, 2]
    assert len(studio.orders) == 1


def test_submit_with_retry_does_not_repeat_what_is_wrong(base, studio, pauses):
    with pytest.raises(requests.HTTPError) as caught:
        clients.submit_with_retry(base, "/api/v1/videos/generate", {"prompt": "good"})
    assert caught.value.response.status_code == 422
    assert pauses == []
    assert studio.orders == {}


def test_unknown_task_ends_the_loop(base):
    with pytest.raises(requests.HTTPError):
        clients.follow_simply(base, "vid_abc123")


def test_socket_tells_everything_up_to_the_address_of_the_video(base, web, token):
    task_id = submit(base, "good")
    with open_socket(web, task_id, token) as socket:
        seen = [socket.next(10)]
        for text in socket.connection:  # ends when the portal closes it
            seen.append(json.loads(text))
        assert socket.connection.close_code == 1000
    progress = [task["progress"] for task in seen]
    assert progress == sorted(progress)
    assert seen[-1]["status"] == "completed"
    # where the guide's sample reads it
    assert requests.get(seen[-1]["result"]["video_url"], timeout=10).content == MP4
    assert all(task["task_id"] == task_id for task in seen)
    assert len({str(task) for task in seen}) == len(seen)  # nothing is told twice
