"""Copying results and keeping them: what becomes of a copy in every case, and who may keep what."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.utils.timezone import now

from tasks_app import queue
from tasks_app.errors import NotPermitted, Refused
from tasks_app.ingest import results as storing
from tasks_app.models import Asset, AuditEntry, Role, Source, TaskEvent
from tasks_app.services.results import (
    GONE_ATTEMPTS,
    LONGEST_PAUSE_SECONDS,
    MAX_ATTEMPTS,
    copy_asset,
    keep_result,
    release_result,
)
from tasks_app.sources.errors import SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import Download, RemoteAsset
from tasks_app.states import State
from tests.factories import make_asset, make_generation, make_task, make_team, make_user
from tests.unit.services.fake_generation import MP4, PNG, FakeAssets

pytestmark = pytest.mark.django_db
URL = "https://cdn.example/"
HTML = b"<!doctype html><html><title>Error</title>"


@pytest.fixture(autouse=True)
def media(tmp_path, settings) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


def files_in(media: Path) -> list[str]:
    return sorted(path.name for path in media.rglob("*") if path.is_file())


def waiting(file: str = "a", **fields) -> Asset:
    return make_asset(**({"url": URL + file, "declared_type": "video/mp4"} | fields))


def copy(asset: Asset, client: FakeAssets) -> Asset:
    """One attempt, as if its time had come."""
    Asset.objects.filter(pk=asset.pk).update(next_attempt_at=now())
    copy_asset(asset.pk, client=client)
    asset.refresh_from_db()
    return asset


def test_a_copy_is_stored_hashed_and_looked_at(media):
    asset = waiting(name="../../etc/a.mp4")
    copy(asset, FakeAssets(a=MP4))
    assert (asset.state, asset.media_type, asset.size) == (Asset.State.COPIED, "video/mp4", len(MP4))
    assert asset.sha256 == hashlib.sha256(MP4).hexdigest()
    assert asset.name == f"{asset.generation.task.api_id}-1.mp4"
    assert (asset.url, asset.error, asset.lease_until, asset.bytes_done) == ("", "", None, len(MP4))
    assert asset.copied_at is not None
    assert default_storage.open(asset.file.name).read() == MP4
    assert files_in(media) == [Path(asset.file.name).name]
    path = Path(default_storage.path(asset.file.name))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert TaskEvent.objects.filter(task_id=asset.generation_id, kind=TaskEvent.Kind.STATE).count() == 1


@pytest.mark.parametrize(("told", "known"), [(None, len(MP4)), (7, 7)], ids=["only now", "before"])
def test_the_size_that_the_answer_declares_is_kept_for_the_bar(told, known):
    assert copy(waiting(declared_size=told), FakeAssets(a=MP4)).declared_size == known


def test_a_second_run_finds_nothing_to_do():
    client = FakeAssets(a=MP4)
    asset = copy(waiting(), client)
    copy(asset, client)
    assert len(client.opened) == 1


def test_the_key_is_asked_for_only_where_it_is_needed():
    client = FakeAssets(a=MP4)
    copy(waiting(needs_auth=True), client)
    assert client.opened == [(URL + "a", True)]


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"next_attempt_at": now() + timedelta(hours=1)}, {}),
        ({"lease_until": now() + timedelta(hours=1)}, {}),
        ({"state": Asset.State.FAILED}, {}),
        ({"state": Asset.State.REMOVED}, {}),
        ({}, {"paused_at": now()}),
    ],
    ids=["not-due", "claimed", "failed", "removed", "paused"],
)
def test_what_is_not_due_is_left_alone(changes, source):
    asset = waiting()
    Asset.objects.filter(pk=asset.pk).update(**changes)
    Source.objects.filter(pk=asset.generation.task.source_id).update(**source)
    client = FakeAssets(a=MP4)
    copy_asset(asset.pk, client=client)
    copy_asset(10**9, client=client)
    assert client.opened == []


def test_no_more_than_the_allowed_number_at_once():
    for _ in range(queue.COPIES_AT_ONCE):
        waiting(lease_until=now() + timedelta(seconds=9))
    asset, client = waiting(), FakeAssets(a=MP4)
    assert (copy(asset, client).state, asset.attempts) == (Asset.State.WAITING, 0)
    Asset.objects.exclude(pk=asset.pk).update(lease_until=now() - timedelta(seconds=1))
    assert copy(asset, client).state == Asset.State.COPIED


def test_the_next_one_follows_at_once(queued):
    first, second = waiting(), waiting("b", next_attempt_at=now() - timedelta(seconds=5))
    copy(first, FakeAssets(a=MP4))
    assert queued() == [("copy_result", (second.pk,))]


def test_a_failed_attempt_is_shown_and_repeated_later():
    asset = waiting()
    copy(asset, FakeAssets(a=SourceUnavailable("cdn.example does not answer.", kind="timeout")))
    assert (asset.state, asset.error, asset.attempts) == (
        Asset.State.WAITING,
        "cdn.example does not answer.",
        1,
    )
    assert timedelta(seconds=3) < asset.next_attempt_at - now() < timedelta(seconds=6)
    assert asset.generation.task.state == State.COMPLETED
    copy(asset, FakeAssets(a=MP4))
    assert (asset.state, asset.error) == (Asset.State.COPIED, "")


def test_pauses_grow_up_to_an_hour_for_a_day():
    client = FakeAssets(a=SourceNeedsPerson("The certificate has changed.", kind="certificate"))
    asset, pauses = waiting(), []
    for _ in range(MAX_ATTEMPTS - 1):
        began = now()
        copy(asset, client)
        pauses.append((asset.next_attempt_at - began).total_seconds())
    assert asset.state == Asset.State.WAITING
    assert pauses[:3] == [pytest.approx(5, abs=2), pytest.approx(10, abs=2), pytest.approx(20, abs=2)]
    assert max(pauses) == pytest.approx(LONGEST_PAUSE_SECONDS, abs=2)
    assert 0.9 < sum(pauses) / 86400 < 1.1
    assert copy(asset, client).state == Asset.State.FAILED
    assert asset.error == "The certificate has changed."


def test_the_wait_that_the_provider_asks_for_is_kept():
    error = SourceUnavailable("Too many.", kind="rate_limited")
    error.retry_after = 120.0
    asset = copy(waiting(), FakeAssets(a=error))
    assert timedelta(seconds=115) < asset.next_attempt_at - now() < timedelta(seconds=125)


def test_a_copy_that_is_killed_again_and_again_ends():
    asset = waiting(attempts=MAX_ATTEMPTS, error="cdn.example does not answer.")
    client = FakeAssets(a=MP4)
    assert copy(asset, client).state == Asset.State.FAILED
    assert client.opened == []


@pytest.mark.parametrize(
    "download",
    [
        Download(iter([bytes(600_000), bytes(600_000)]), None),
        Download(iter([]), 2_000_000),
    ],
    ids=["endless", "declared"],
)
def test_more_than_the_limit_is_not_kept(settings, media, download):
    settings.RESULT_MAX_MB = 1
    asset = copy(waiting(), FakeAssets(a=download))
    assert asset.state == Asset.State.TOO_LARGE
    assert "limit of 1 MB" in asset.error
    assert files_in(media) == []


@pytest.mark.parametrize(
    "download",
    [Download(iter([MP4]), len(MP4) + 1), Download(iter([]), None), Download(iter([]), 0)],
    ids=["shorter", "empty", "declared-empty"],
)
def test_an_incomplete_file_is_no_copy(media, download):
    asset = copy(waiting(), FakeAssets(a=download))
    assert (asset.state, asset.error) == (Asset.State.WAITING, "The file came incomplete.")
    assert files_in(media) == []


def test_an_error_in_the_middle_leaves_nothing(media):
    def pieces():
        yield MP4
        raise SourceUnavailable("cdn.example closed the connection in the middle.", kind="connection")

    asset = copy(waiting(), FakeAssets(a=Download(pieces(), None)))
    assert asset.state == Asset.State.WAITING
    assert files_in(media) == []


def test_a_page_in_place_of_a_video_fails_in_plain_words_after_one_more_try(media):
    asset, client = waiting(), FakeAssets(a=HTML)
    copy(asset, client)
    assert (asset.state, asset.error) == (
        Asset.State.WAITING,
        "The provider sent a web page instead of a video.",
    )
    assert asset.next_attempt_at - now() > timedelta(minutes=4)
    assert copy(asset, client).state == Asset.State.FAILED
    assert asset.error == "The provider sent a web page instead of a video."
    assert files_in(media) == []


def test_a_page_that_becomes_a_video_is_copied():
    asset, client = waiting(), FakeAssets(a=[HTML, MP4])
    copy(asset, client)
    assert copy(asset, client).state == Asset.State.COPIED


@pytest.mark.parametrize(
    ("kind", "fields", "content", "state"),
    [
        ("video", {"declared_type": "", "name": "result-1"}, HTML, Asset.State.WAITING),
        ("image", {"declared_type": "", "name": "x.png"}, b'{"error": "no"}', Asset.State.WAITING),
        (
            "workflow",
            {"declared_type": "application/json", "name": "m.json"},
            b'{"a": 1}',
            Asset.State.COPIED,
        ),
        ("video", {"declared_type": "", "name": "metadata.json"}, b'{"a": 1}', Asset.State.COPIED),
        ("workflow", {"declared_type": "", "name": "page"}, HTML, Asset.State.COPIED),
        (
            "image",
            {"declared_type": "image/svg+xml", "name": "x"},
            b"<svg><script/></svg>",
            Asset.State.COPIED,
        ),
        ("image", {"declared_type": "image/png", "name": "x"}, b"<svg><script/></svg>", Asset.State.COPIED),
        ("video", {"declared_type": "video/mp4", "name": "x"}, PNG, Asset.State.COPIED),
    ],
    ids=["page", "error", "json", "json-of-video", "page-of-workflow", "svg", "svg-as-png", "picture"],
)
def test_what_is_expected_decides_what_is_taken(kind, fields, content, state):
    generation = make_generation(state=State.COMPLETED, kind=kind)
    asset = copy(waiting(generation=generation, **fields), FakeAssets(a=content))
    assert asset.state == state
    if content is not PNG and state == Asset.State.COPIED:
        assert asset.media_type == "application/octet-stream"


def test_a_refused_address_is_asked_for_anew_once():
    client = FakeAssets(old=SourceRefused("Expired.", kind="forbidden"), new=MP4)
    client.shown = (RemoteAsset("a.mp4", url=URL + "new", media_type="video/mp4"),)
    assert copy(waiting("old"), client).state == Asset.State.COPIED
    assert [url for url, _ in client.opened] == [URL + "old", URL + "new"]


def test_an_address_past_its_lifetime_is_asked_for_anew_first():
    client = FakeAssets(new=MP4)
    client.shown = (RemoteAsset("a.mp4", url=URL + "new"),)
    asset = waiting("old", expires_at=now() - timedelta(minutes=1))
    assert copy(asset, client).state == Asset.State.COPIED
    assert client.fetches == 1


def test_what_the_provider_has_no_more_expires():
    client = FakeAssets(a=SourceRefused("It is gone.", kind="not_found"))
    client.shown = SourceRefused("Unknown task.", kind="not_found")
    asset = waiting()
    for _ in range(GONE_ATTEMPTS - 1):
        assert copy(asset, client).state == Asset.State.WAITING
    assert copy(asset, client).state == Asset.State.EXPIRED
    assert asset.error == "It is gone."
    assert client.fetches == GONE_ATTEMPTS
    assert asset.generation.task.state == State.COMPLETED


def test_a_refused_key_is_tried_on_because_an_admin_may_put_it_right():
    client = FakeAssets(a=SourceRefused("It does not give the file (403).", kind="forbidden"))
    asset = waiting(needs_auth=True, attempts=GONE_ATTEMPTS + 1)
    assert copy(asset, client).state == Asset.State.WAITING


def test_an_address_that_leads_nowhere_good_is_given_up():
    client = FakeAssets(a=SourceRefused("cdn.example lies in a private network.", kind="address"))
    assert copy(waiting(), client).state == Asset.State.FAILED
    assert client.fetches == 0


def test_bytes_within_the_answer_are_taken_by_reading_it_again():
    client = FakeAssets()
    client.shown = (RemoteAsset("a", data=PNG, media_type="image/png"), RemoteAsset("b", data=MP4))
    generation = make_generation(state=State.COMPLETED)
    make_asset(generation, number=0, state=Asset.State.FAILED)
    asset = waiting(generation=generation, number=1, url="", ref={"inline": True})
    assert copy(asset, client).state == Asset.State.COPIED
    assert (asset.size, asset.name) == (len(MP4), f"{generation.task.api_id}-2.mp4")
    client.shown = ()
    gone = waiting(generation=generation, number=2, url="", ref={"inline": True}, attempts=GONE_ATTEMPTS)
    assert copy(gone, client).state == Asset.State.EXPIRED


def test_a_full_disk_is_our_trouble_and_passes(monkeypatch, media):
    monkeypatch.setattr(storing, "RESERVE_BYTES", 2**60)
    asset = copy(waiting(), FakeAssets(a=MP4))
    assert asset.state == Asset.State.WAITING
    assert "disk is full" in asset.error
    assert files_in(media) == []


def test_a_source_removed_in_the_middle_leaves_no_file(media):
    asset = waiting()

    def pieces():
        yield MP4
        asset.generation.task.source.tasks.all().delete()

    copy_asset(asset.pk, client=FakeAssets(a=Download(pieces(), None)))
    assert not Asset.objects.exists()
    assert files_in(media) == []


def test_settings_that_make_no_sense_are_told():
    asset = waiting(generation=make_generation(state=State.COMPLETED, source=None))
    Source.objects.update(kind="task_api", settings={"paths": 5})
    copy_asset(asset.pk)
    asset.refresh_from_db()
    assert asset.state == Asset.State.WAITING
    assert asset.error


def test_hostile_words_of_an_error_can_be_stored():
    asset = copy(waiting(), FakeAssets(a=SourceUnavailable("a\0b \ud800 " + "x" * 2000)))
    assert asset.state == Asset.State.WAITING
    assert len(asset.error) == 500


def keep(generation, person):
    keep_result(generation.task, actor=person)
    generation.refresh_from_db()


def test_keeping_and_releasing_are_audited_once(audited):
    generation, person = make_generation(state=State.COMPLETED), make_user(Role.OPERATOR)
    keep(generation, person)
    keep(generation, person)
    assert (generation.kept_by_name, generation.kept_at is not None) == (person.username, True)
    release_result(generation.task, actor=person)
    release_result(generation.task, actor=person)
    generation.refresh_from_db()
    assert (generation.kept_at, generation.kept_by_name) == (None, "")
    assert audited() == ["result.keep", "result.release"]
    assert AuditEntry.objects.first().source_name == generation.task.source.name


def test_one_s_own_and_those_of_a_team_one_leads_may_be_kept():
    person, lead, member = make_user(), make_user(), make_user()
    team = make_team(person, member, admins=(lead,))
    generation = make_generation(state=State.COMPLETED, actor=person, team=team)
    keep(generation, person)
    release_result(generation.task, actor=lead)
    for stranger in (member, make_user(Role.VIEWER), make_user()):
        with pytest.raises(NotPermitted):
            keep(generation, stranger)
        with pytest.raises(NotPermitted):
            release_result(generation.task, actor=stranger)


def test_what_is_gone_or_makes_no_results_cannot_be_kept():
    person = make_user(Role.OPERATOR)
    with pytest.raises(Refused):
        keep(make_generation(state=State.COMPLETED, cleaned_at=now()), person)
    with pytest.raises(Refused):
        keep_result(make_task(), actor=person)
