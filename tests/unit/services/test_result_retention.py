"""Retention: what goes and what stays, the preview of it, and files that nobody owns."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.timezone import now

from tasks_app.errors import NotPermitted
from tasks_app.models import Asset, AuditEntry, LogChunk, LogLine, Role, TaskEvent, TaskLog, Upload
from tasks_app.services import result_retention
from tasks_app.services.result_retention import (
    ORPHAN_SECONDS,
    clean_up,
    preview_clean_up,
    removal_at,
    request_clean_up,
    sweep,
)
from tasks_app.services.results import keep_result, release_result
from tasks_app.states import State
from tests.factories import add_log, make_asset, make_generation, make_task, make_team, make_user

pytestmark = pytest.mark.django_db
OLD = timedelta(hours=25)


@pytest.fixture(autouse=True)
def media(tmp_path, settings) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


def ended(ago: timedelta = OLD, *, seen_ago: timedelta | None = None, **fields):
    """A task that ended so long ago, and of which the portal learnt `seen_ago`."""
    at = now()
    fields.setdefault("state", State.COMPLETED)
    times = {"ended_at": at - ago, "changed_at": at - (ago if seen_ago is None else seen_ago)}
    return make_generation(task=times, **fields)


def copied(generation, content: bytes = b"12345", *, age_seconds: float = 90_000) -> Asset:
    name = default_storage.save("results/x.mp4", ContentFile(content))
    age(name, age_seconds)
    return make_asset(generation, state=Asset.State.COPIED, file=name, size=len(content), sha256="ab")


def uploaded(generation, content: bytes = b"123") -> Upload:
    name = default_storage.save("uploads/start.png", ContentFile(content))
    age(name, 90_000)
    return Upload.objects.create(
        generation=generation,
        parameter="image",
        name="start.png",
        media_type="image/png",
        size=len(content),
        sha256="cd",
        file=name,
    )


def age(name: str, seconds: float) -> None:
    at = now().timestamp() - seconds
    os.utime(default_storage.path(name), (at, at))


def clean(**options):
    return clean_up(sleep=lambda seconds: None, **options)


def test_files_uploads_logs_and_extras_go_and_what_was_asked_for_stays():
    generation = ended(
        prompt="A red fox", metadata={"seed": 1}, problem_detail="trace", handle={"id": "v", "k": 1}
    )
    task = generation.task
    asset, upload = copied(generation), uploaded(generation)
    add_log(task, "one", "two")
    LogChunk.objects.create(
        log=TaskLog.objects.create(task=task, lines=1), first=1, data=LogChunk.pack(["one"])
    )
    type(task).objects.filter(pk=task.pk).update(raw={"a": 1})
    names = [asset.file.name, upload.file.name]

    removed = clean()
    assert (removed.tasks, removed.files, removed.bytes) == (1, 2, 8)
    assert not any(default_storage.exists(name) for name in names)
    for row in (asset, generation, task):
        row.refresh_from_db()
    assert (asset.state, asset.file.name, asset.url, asset.size) == (Asset.State.REMOVED, "", "", 5)
    assert (generation.cleaned_at is not None, generation.prompt) == (True, "A red fox")
    assert (generation.metadata, generation.problem_detail, generation.handle) == ({}, "", {"id": "v"})
    assert (task.raw, task.log_total, task.state) == ({}, 0, State.COMPLETED)
    assert Upload.objects.get().file == "" and Upload.objects.get().name == upload.name
    assert not LogLine.objects.exists() and not TaskLog.objects.exists()
    assert TaskEvent.objects.filter(task_id=task.pk, kind=TaskEvent.Kind.STATE).exists()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name) == ("result.clean_up", "portal")
    assert (entry.data["tasks"], entry.data["files"], entry.data["bytes"]) == ([task.api_id], 2, 8)
    assert clean().tasks == 0
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: ended(timedelta(hours=23)),
        lambda: ended(timedelta(days=9), seen_ago=timedelta(hours=1)),
        lambda: ended(kept_at=now(), kept_by_name="ada"),
        lambda: make_generation(state=State.PROCESSING, asked_at=now() - timedelta(days=30)),
        lambda: make_generation(state=State.PENDING, asked_at=now() - timedelta(days=30)),
    ],
    ids=["young", "learnt-late", "kept", "running", "waiting"],
)
def test_what_is_left_alone(make):
    generation = make()
    asset = copied(generation)
    assert clean().tasks == 0
    asset.refresh_from_db()
    assert asset.state == Asset.State.COPIED
    assert default_storage.exists(asset.file.name)


def test_a_task_whose_copy_is_under_way_waits_for_it():
    generation = ended()
    make_asset(generation, lease_until=now() + timedelta(seconds=9))
    assert clean().tasks == 0


@pytest.mark.parametrize(
    "state", [Asset.State.WAITING, Asset.State.EXPIRED, Asset.State.TOO_LARGE, Asset.State.FAILED]
)
def test_what_was_not_copied_says_so_still(state):
    asset = make_asset(ended(), state=state)
    clean()
    asset.refresh_from_db()
    assert asset.state == (Asset.State.REMOVED if state == Asset.State.WAITING else state)
    assert asset.url == ""


def test_tasks_of_clusters_are_no_matter_of_it():
    task = make_task(state=State.COMPLETED)
    add_log(task, "line")
    type(task).objects.update(changed_at=now() - OLD, ended_at=now() - OLD)
    assert clean().tasks == 0
    assert LogLine.objects.exists()


def test_many_go_in_batches(monkeypatch):
    monkeypatch.setattr(result_retention, "BATCH_TASKS", 2)
    for _ in range(5):
        copied(ended())
    assert clean().tasks == 5
    assert AuditEntry.objects.count() == 3


def test_a_kill_between_rows_and_files_leaves_nothing_for_good(monkeypatch):
    asset = copied(ended())
    with monkeypatch.context() as patched:
        patched.setattr(result_retention, "remove_files", lambda names: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            clean()
    assert default_storage.exists(asset.file.name)
    assert clean().orphans == 1
    assert not default_storage.exists(asset.file.name)


def test_the_sweep_takes_only_old_files_without_a_row(media):
    mine = copied(ended(timedelta(hours=1)))
    upload = uploaded(mine.generation)
    orphans = [default_storage.save(name, ContentFile(b"x")) for name in ("results/o.mp4", "uploads/o.png")]
    fresh = default_storage.save("results/fresh.mp4", ContentFile(b"x"))
    parts = media / "parts"
    parts.mkdir()
    for name in ("old.part", "fresh.part"):
        (parts / name).write_bytes(b"x")
    for name in orphans:
        age(name, ORPHAN_SECONDS + 60)
    os.utime(parts / "old.part", (0, 0))
    assert sweep() == 3
    assert default_storage.exists(mine.file.name) and default_storage.exists(upload.file.name)
    assert default_storage.exists(fresh)
    assert [path.name for path in parts.iterdir()] == ["fresh.part"]


def test_the_sweep_of_an_empty_storage_finds_nothing():
    assert sweep() == 0


def test_when_the_results_of_a_task_go(settings):
    settings.TASK_RETENTION_HOURS = 48
    generation = ended(timedelta(hours=3), seen_ago=timedelta(hours=2))
    expected = generation.task.changed_at + timedelta(hours=48)
    assert removal_at(generation.task) == expected
    assert removal_at(ended(kept_at=now()).task) is None
    assert removal_at(ended(cleaned_at=now()).task) is None
    assert removal_at(make_generation(state=State.PROCESSING).task) is None


def test_the_preview_shows_exactly_what_the_clean_up_removes(django_assert_num_queries):
    due = [ended(OLD + timedelta(minutes=n)) for n in range(3)]
    for generation in due:
        copied(generation)
    uploaded(due[0])
    later = ended(timedelta(hours=2))
    copied(later)
    copied(ended(kept_at=now()), b"1234567")
    with django_assert_num_queries(9):
        preview = preview_clean_up()
    assert (preview.tasks, preview.files, preview.bytes) == (3, 4, 18)
    assert [row.task.pk for row in preview.due] == [generation.pk for generation in reversed(due)]
    assert [(row.task.pk, row.files, row.bytes) for row in preview.upcoming] == [(later.pk, 1, 5)]
    assert (preview.waiting_tasks, preview.kept_tasks, preview.kept_bytes) == (1, 1, 7)
    removed = clean()
    assert (removed.tasks, removed.files, removed.bytes) == (preview.tasks, preview.files, preview.bytes)
    assert preview_clean_up().tasks == 0


def test_a_preview_of_tomorrow():
    generation = ended(timedelta(hours=2))
    assert preview_clean_up().tasks == 0
    assert preview_clean_up(now() + timedelta(hours=23)).due[0].task.pk == generation.pk


def test_release_gives_it_back_to_retention():
    generation, person = ended(), make_user(Role.OPERATOR)
    keep_result(generation.task, actor=person)
    assert clean().tasks == 0
    release_result(generation.task, actor=person)
    assert clean().tasks == 1


def test_admins_start_a_clean_up(audited, queued, django_capture_on_commit_callbacks):
    copied(ended())
    admin = make_user(Role.ADMIN)
    with django_capture_on_commit_callbacks(execute=True):
        request_clean_up(actor=admin)
    assert queued() == [("clean_up_results", ())]
    assert audited() == ["result.clean_up"]
    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.data["tasks"], entry.data["files"]) == (admin.username, 1, 1)


def test_others_do_not_start_one(queued):
    lead = make_user()
    make_team(admins=(lead,))
    source = ended().task.source
    for person in (make_user(Role.OPERATOR), make_user(Role.ADMIN, source=source), lead, make_user()):
        with pytest.raises(NotPermitted):
            request_clean_up(actor=person)
    assert queued() == []
