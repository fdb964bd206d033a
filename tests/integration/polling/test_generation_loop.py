"""The watch loop against the demo's generation service over real HTTP: our tasks, those of others, a silent server."""

import pytest
from django.utils.timezone import now

from demo.generation.server import GenerationServer
from tasks_app.connections import generation_client_of
from tasks_app.ingest import generations
from tasks_app.models import Generation, Source, Task, TaskEvent
from tasks_app.sources.generation.base import Order
from tests.factories import make_generation, make_generation_source
from tests.integration.polling.conftest import wait_for, watching

PARAMETERS = {"prompt": "A lighthouse at night"}
OFFER = {
    "key": "image",
    "kind": "image",
    "label": "Image",
    "path": "/api/v1/images/generate",
    "parameters": [{"name": "prompt", "label": "Prompt", "type": "long_text", "required": True}],
}


@pytest.fixture
def server(tmp_path):
    running = GenerationServer(("127.0.0.1", 0), tmp_path / "state", time_scale=0.0).start()
    yield running
    running.stop()


@pytest.fixture
def source(transactional_db, server):
    return make_generation_source(urls=[server.url], settings={"offers": [OFFER]}, last_pass_at=None)


def send(source):
    """An order as a job sends it."""
    row = make_generation(source, kind="image", called_at=now())
    order = Order("image", PARAMETERS, row.own_id, "once")
    generations.record_answer(row.pk, generation_client_of(source).submit(order), at=now())
    return row


def states(rows):
    return set(Task.objects.filter(pk__in=[row.pk for row in rows]).values_list("state", flat=True))


def test_pictures_of_ours_are_followed_to_their_results(source):
    with watching():
        rows = [send(source) for _ in range(8)]
        wait_for(lambda: states(rows) == {"completed"}, 30)
    for row in rows:
        assert [asset.state for asset in row.assets.all()] == ["waiting"]
        ends = TaskEvent.objects.filter(task_id=row.pk, kind="state")
        assert ends.exists()
    source.refresh_from_db()
    assert source.health == "ok"
    assert source.first_synced_at is not None
    assert Generation.objects.count() == 8  # nothing of ours was taken for somebody else's


def test_what_others_started_appears_and_what_the_server_forgot_is_no_guessed_failure(source, server):
    server.studio.submit("/api/v1/images/generate", PARAMETERS)
    with watching():
        wait_for(lambda: Generation.objects.filter(task__state="completed").exists())
        row = make_generation(source, is_sent=True, ask_at=now())  # the server does not know it
        Source.objects.update(next_pass_at=now())
        wait_for(lambda: Task.objects.get(pk=row.pk).missing_count == 1)
    assert Task.objects.get(pk=row.pk).state == "pending"
    foreign = Generation.objects.get(actor_name="")
    assert (foreign.prompt or foreign.task.remote_id) and not foreign.assets.exists()


def test_a_server_that_is_gone_changes_no_task(source):
    with watching():
        rows = [make_generation(source, is_sent=True, ask_at=now()) for _ in range(2)]
        wait_for(lambda: Source.objects.get(pk=source.pk).first_synced_at is not None)
        Source.objects.update(urls=["http://127.0.0.1:1"])
        Generation.objects.update(ask_at=now())
        Source.objects.update(next_pass_at=now())
        wait_for(lambda: Generation.objects.filter(bad_answers__gte=1).exists(), 30)
    assert states(rows) == {"pending"}
