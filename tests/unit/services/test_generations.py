"""Asking for videos and images: who may, what is checked, once per key, within the team's quota."""

from datetime import timedelta
from io import BytesIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.timezone import now
from PIL import Image

from tasks_app import connections
from tasks_app.errors import InvalidInput, NotPermitted, Refused, SourcePaused
from tasks_app.models import AuditEntry, Generation, Role, Task, TaskEvent, Upload
from tasks_app.services import generations
from tasks_app.services.quotas import QuotaExceeded
from tasks_app.services.result_retention import clean_up
from tasks_app.sources.errors import SourceNeedsPerson
from tasks_app.sources.generation.base import Upload as Picture
from tasks_app.states import State
from tests.factories import (
    make_generation,
    make_generation_source,
    make_source,
    make_superuser,
    make_team,
    make_user,
)
from tests.unit.services.fake_provider import FakeGeneration

pytestmark = pytest.mark.django_db


def picture(kind="PNG"):
    buffer = BytesIO()
    Image.new("RGB", (2, 2), "red").save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def provider(monkeypatch, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    fake = FakeGeneration()
    monkeypatch.setattr(connections, "generation_client_of", lambda source: fake)
    return fake


@pytest.fixture
def source():
    return make_generation_source()


def submit(source, actor=None, **given):
    wanted = {
        "offer": "clip",
        "parameters": {"prompt": "A red fox"},
        "uploads": {},
        "team": None,
        "idempotency_key": "key-1",
    }
    return generations.submit_generation(source, actor=actor or make_user(Role.OPERATOR), **(wanted | given))


def files():
    return default_storage.listdir("uploads")[1] if default_storage.exists("uploads") else []


# --- what is written


def test_an_order_becomes_a_pending_task(
    source, audited, queued, django_capture_on_commit_callbacks, settings
):
    actor = make_user(Role.OPERATOR)
    with django_capture_on_commit_callbacks(execute=True):
        task = submit(source, actor, parameters={"prompt": " A red\n fox ", "seconds": "7"}, minutes=30)
    row = Generation.objects.get()
    assert (task.pk, task.state, task.type, task.remote_id) == (row.pk, State.PENDING, "video", row.own_id)
    assert (task.object_name, task.remote_user) == ("A red fox", actor.username)
    assert row.parameters == {"prompt": "A red\n fox", "seconds": 7}
    assert row.cancel_at - row.asked_at == timedelta(minutes=30)
    assert row.is_held
    assert "red fox" in task.search_text
    assert audited() == ["generation.submit"]
    assert queued() == [("dispatch", ())]
    assert TaskEvent.objects.get().kind == "new"


def test_the_audit_entry_has_the_prompt_shortened_and_no_other_value(source):
    submit(source, parameters={"prompt": "x" * 5000, "seconds": 3})
    data = AuditEntry.objects.get().data
    assert data["prompt"] == "x" * 200
    assert "seconds" not in str(data)


def test_a_long_prompt_is_kept_whole_and_its_name_shortened(source):
    task = submit(source, parameters={"prompt": "long " * 1000})
    assert len(task.object_name) == 400
    assert len(task.generation.prompt) == len("long " * 1000) - 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"parameters": {}}, "prompt"),
        ({"parameters": {"prompt": "x", "seconds": 11}}, "seconds"),
        ({"parameters": {"prompt": "x\0"}}, "prompt"),
        ({"parameters": {"prompt": "\ud800"}}, "prompt"),
        ({"parameters": {"prompt": {"deep": []}}}, "prompt"),
        ({"parameters": {"prompt": "x", "seconds": float("nan")}}, "seconds"),
        ({"offer": "nothing"}, "offer"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 65}, "idempotency_key"),
        ({"idempotency_key": "k\0"}, "idempotency_key"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 10081}, "minutes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_named(source, given, field):
    with pytest.raises(InvalidInput) as refused:
        submit(source, **given)
    assert set(refused.value.fields) == {field}
    assert not Task.objects.exists()


def test_a_paused_source_takes_nothing(source):
    source.paused_at = now()
    source.save()
    with pytest.raises(SourcePaused):
        submit(source)


def test_a_cluster_makes_no_videos():
    with pytest.raises(InvalidInput):
        submit(make_source())


def test_a_source_whose_key_cannot_be_read_is_refused_plainly(source, monkeypatch):
    def fail(source):
        raise SourceNeedsPerson("secret words", kind="key_changed")

    monkeypatch.setattr(connections, "generation_client_of", fail)
    with pytest.raises(Refused, match="An admin must look") as refused:
        submit(source)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("capable", "base_url", "secret", "switch", "expected"),
    [
        (True, "https://portal.example", True, False, True),
        (True, "https://portal.example", False, True, True),
        (True, "https://portal.example", False, False, False),
        (True, "", True, True, False),
        (False, "https://portal.example", True, True, False),
    ],
    ids=["with a secret", "switched on", "not wanted", "no public address", "dialect without"],
)
def test_a_token_for_webhooks_only_where_they_can_work(
    source, provider, settings, monkeypatch, capable, base_url, secret, switch, expected
):
    settings.BASE_URL = base_url
    monkeypatch.setattr(connections, "generation_client_of", lambda source: FakeGeneration(webhook=capable))
    source.webhook_secret_sealed = connections.seal("s") if secret else ""
    source.settings = {"webhooks": switch}
    source.save()
    token = submit(source).generation.webhook_token
    assert (len(token) >= 40) is expected


# --- once


def test_the_same_key_of_the_same_person_is_the_same_task_for_ever(source, audited):
    actor = make_user(Role.OPERATOR)
    first = submit(source, actor)
    Task.objects.filter(pk=first.pk).update(state=State.COMPLETED)
    source.paused_at = now()
    source.save()
    assert submit(source, actor, parameters={"prompt": "another"}) == first
    assert audited() == ["generation.submit"]


def test_the_same_key_of_another_person_is_another_task(source):
    assert submit(source) != submit(source)


def test_a_double_click_needs_no_second_place_in_the_quota(source):
    actor = make_user()
    team = make_team(actor, max_generations=1)
    source.teams.add(team)
    first = submit(source, actor, team=team)
    assert submit(source, actor, team=team) == first


# --- who


def test_a_viewer_may_not(source):
    with pytest.raises(NotPermitted):
        submit(source, make_user(Role.VIEWER))


def test_a_stranger_may_not(source):
    with pytest.raises(NotPermitted):
        submit(source, make_user())


def test_a_member_names_a_team_to_which_the_source_is_open(source):
    actor = make_user()
    team = make_team(actor)
    source.teams.add(team)
    with pytest.raises(InvalidInput) as refused:
        submit(source, actor)
    assert set(refused.value.fields) == {"team"}
    assert submit(source, actor, team=team).generation.team == team


def test_another_team_of_theirs_gives_no_right(source):
    actor = make_user()
    source.teams.add(make_team(actor))
    with pytest.raises(NotPermitted):
        submit(source, actor, team=make_team(actor))


def test_nobody_spends_the_quota_of_a_team_they_are_not_in(source):
    team = make_team(make_user())
    source.teams.add(team)
    with pytest.raises(NotPermitted):
        submit(source, make_user(Role.OPERATOR), team=team)
    with pytest.raises(NotPermitted):
        submit(source, make_user(), team=team)
    assert submit(source, make_superuser(), team=team).generation.team == team


def test_an_operator_may_make_it_for_their_own_team(source):
    actor = make_user(Role.OPERATOR)
    team = make_team(actor)
    assert submit(source, actor, team=team).generation.team == team


# --- how much


def test_no_more_open_at_once_than_the_team_may_have(source):
    actor = make_user()
    team = make_team(actor, max_generations=2)
    source.teams.add(team)
    make_generation(source, team=team, state=State.COMPLETED)
    make_generation(source, team=team)
    submit(source, actor, team=team)
    with pytest.raises(QuotaExceeded, match="2 video or image tasks open at once, and has 2"):
        submit(source, actor, team=team, idempotency_key="another")
    assert not files()


def test_no_more_in_24_hours_whatever_became_of_them(source):
    actor = make_user()
    team = make_team(actor, max_generations_per_day=1)
    source.teams.add(team)
    make_generation(source, team=team, state=State.CANCELLED, asked_at=now() - timedelta(hours=25))
    submit(source, actor, team=team)
    Task.objects.update(state=State.FAILED)
    with pytest.raises(QuotaExceeded, match="1 video or image task in 24 hours"):
        submit(source, actor, team=team, idempotency_key="another")


# --- pictures


def with_picture(source, content, name="cat.png", **more):
    uploads = {"first_image": Picture(name, "text/html", content), **more}
    return submit(source, offer="picture", uploads=uploads)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_is_stored_with_its_real_type(source, kind):
    task = with_picture(source, picture(kind))
    row = Upload.objects.get()
    assert (row.generation_id, row.parameter, row.media_type) == (
        task.pk,
        "first_image",
        f"image/{kind.lower()}",
    )
    assert row.file.read() == picture(kind)
    assert row.size == len(picture(kind))
    assert len(row.sha256) == 64
    assert task.generation.own_id in row.file.name
    assert AuditEntry.objects.get().data["pictures"] == ["first_image"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0 ftypmp42" + b"\0" * 100,
        b"MZ" + b"\0" * 100,
    ],
    ids=["empty", "html", "svg", "mp4", "program"],
)
def test_what_is_no_picture_is_refused_on_its_field(source, content):
    with pytest.raises(InvalidInput) as refused:
        with_picture(source, content)
    assert set(refused.value.fields) == {"first_image"}
    assert not files()


def test_a_picture_above_the_limit_is_refused(source, settings):
    settings.UPLOAD_MAX_MB = 1
    with pytest.raises(InvalidInput, match="At most 1 MB"):
        with_picture(source, picture() + b"\0" * 1024 * 1024)


def test_a_required_picture_that_is_missing_is_named(source):
    with pytest.raises(InvalidInput) as refused:
        submit(source, offer="picture")
    assert set(refused.value.fields) == {"first_image"}


def test_pictures_nobody_asked_for_are_passed_over(source):
    with_picture(source, picture(), other=Picture("x", "", b"<html>"))
    assert Upload.objects.count() == 1


def test_a_file_name_is_never_a_path(source):
    with_picture(source, picture(), name="..\\..\\etc/pass\0wd\n.png")
    assert Upload.objects.get().name == "pass\ufffdwd.png"


def test_pictures_go_when_the_order_fails(source, monkeypatch):
    monkeypatch.setattr(generations, "search_text_of", lambda row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        with_picture(source, picture())
    assert not files()
    assert not Task.objects.exists()


def test_pictures_go_when_the_quota_is_used_up(source):
    actor = make_user(Role.OPERATOR)
    team = make_team(actor, max_generations=0)
    with pytest.raises(QuotaExceeded):
        submit(
            source,
            actor,
            offer="picture",
            team=team,
            uploads={"first_image": Picture("a", "", picture())},
        )
    assert not files()


# --- again


def again(task, actor=None, **given):
    return generations.retry_generation(
        task, actor=actor or make_user(Role.OPERATOR), **({"idempotency_key": "again"} | given)
    )


def test_a_retry_is_a_new_order_with_the_same_input_and_pictures(source, audited):
    old = with_picture(source, picture())
    Task.objects.filter(pk=old.pk).update(state=State.FAILED)
    new = again(old)
    assert new != old
    assert new.generation.parameters == old.generation.parameters
    first, second = Upload.objects.order_by("pk")
    assert second.generation_id == new.pk
    assert first.file.name != second.file.name
    assert second.file.read() == picture()
    assert audited() == ["generation.submit", "generation.retry"]
    assert AuditEntry.objects.latest("pk").data["retry_of"] == old.pk


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.LOST])
def test_what_did_not_complete_can_be_asked_for_again(source, state):
    row = make_generation(source, state=state, offer="clip")
    assert again(row.task).state == State.PENDING


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.COMPLETED])
def test_what_runs_or_completed_cannot(source, state):
    with pytest.raises(Refused):
        again(make_generation(source, state=state, offer="clip").task)


def test_a_task_of_somebody_outside_the_portal_cannot(source):
    with pytest.raises(Refused):
        again(make_generation(source, state=State.FAILED, actor=None).task)


def test_what_may_have_been_made_needs_a_yes(source):
    row = make_generation(source, state=State.LOST, offer="clip", problem_kind="outcome_unknown")
    with pytest.raises(InvalidInput, match="may have been made"):
        again(row.task)
    assert Generation.objects.count() == 1
    assert again(row.task, confirmed=True).state == State.PENDING


def test_a_retry_stays_with_the_team_whose_member_asks(source):
    member = make_user()
    team = make_team(member)
    source.teams.add(team)
    row = make_generation(source, state=State.FAILED, offer="clip", team=team)
    assert again(row.task, member).generation.team == team
    assert again(row.task, make_user(Role.OPERATOR)).generation.team is None


def test_a_retry_with_a_key_that_was_used_is_the_task_of_that_key(source):
    row = make_generation(source, state=State.FAILED, offer="clip")
    actor = make_user(Role.OPERATOR)
    assert again(row.task, actor) == again(row.task, actor)


@pytest.mark.parametrize("is_cleaned", [False, True], ids=["lost", "removed by retention"])
def test_a_retry_whose_picture_is_gone_says_so_and_is_not_made_without_it(source, is_cleaned):
    old = with_picture(source, picture())
    long_ago = now() - timedelta(days=90)
    Task.objects.filter(pk=old.pk).update(state=State.FAILED, ended_at=long_ago, changed_at=long_ago)
    if is_cleaned:
        assert clean_up().files == 1
    else:
        default_storage.delete(Upload.objects.get().file.name)
    with pytest.raises(Refused, match="not there any more"):
        again(old)


def test_a_retry_needs_the_right_to_make_it(source):
    row = make_generation(source, state=State.FAILED, offer="clip")
    with pytest.raises(NotPermitted):
        again(row.task, make_user(Role.VIEWER))


def test_storage_names_never_overwrite(source):
    default_storage.save("uploads/x.png", ContentFile(b"1"))
    with_picture(source, picture())
    assert len(files()) == 2
