"""Results as files, keeping them, and the page of retention: who gets what, with which headers, and what is noted."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils.timezone import now

from tasks_app.models import Asset, AuditEntry, Generation, Role
from tasks_app.services.api_tokens import add_token
from tasks_app.states import State
from tests.factories import make_asset, make_generation, make_team, make_user

pytestmark = pytest.mark.django_db
CONTENT = b"\0\0\0\x18ftypisom-not-a-real-film"


@pytest.fixture(autouse=True)
def media(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"


def copied(generation: Generation | None = None, **fields) -> Asset:
    generation = generation or make_generation(state=State.COMPLETED)
    defaults = {
        "state": Asset.State.COPIED,
        "file": default_storage.save("results/x.mp4", ContentFile(CONTENT)),
        "name": f"{generation.task.api_id}-1.mp4",
        "media_type": "video/mp4",
        "size": len(CONTENT),
        "sha256": "ab" * 32,
    }
    return make_asset(generation, **(defaults | fields))


def address(asset: Asset, query: str = "", name: str | None = None) -> str:
    return reverse("portal:result-file", args=[asset.pk, name or asset.name]) + query


def downloads() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action="result.download"))


def deeds() -> list[str]:
    entries = AuditEntry.objects.exclude(action="person.login").order_by("pk")
    return list(entries.values_list("action", flat=True))


def signed_in(client, person):
    client.force_login(person)
    return client


def test_who_sees_the_task_gets_its_result(client):
    member = make_user()
    generation = make_generation(state=State.COMPLETED, team=make_team(member))
    asset = copied(generation)
    source = generation.task.source
    for person in (member, make_user(Role.VIEWER, source=source), make_user(Role.OPERATOR)):
        answer = signed_in(client, person).get(address(asset))
        assert (answer.status_code, answer.getvalue()) == (200, CONTENT)


def test_a_stranger_cannot_tell_that_the_result_exists(client):
    asset = copied()
    signed_in(client, make_user())
    assert client.get(address(asset)).status_code == 404
    assert client.get(f"/results/{10**25}/x").status_code == 404
    assert client.get(reverse("portal:result-file", args=[asset.pk + 1, "x"])).status_code == 404


def test_who_is_not_signed_in_is_sent_to_sign_in(client):
    answer = client.get(address(copied()))
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


def test_a_token_is_as_good_as_a_session(client):
    person = make_user(Role.VIEWER)
    _, text = add_token(person, actor=person, name="script", days=1)
    asset = copied()
    answer = client.get(address(asset, "?download=1"), headers={"Authorization": f"Bearer {text}"})
    assert answer.getvalue() == CONTENT
    assert downloads()[0].actor_name == person.username
    refused = client.get(address(asset), headers={"Authorization": "Bearer tp_wrong"})
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.json()["error"]["code"] == "NOT_AUTHENTICATED"


def test_the_headers_keep_a_result_harmless(client):
    asset = copied()
    answer = signed_in(client, make_user(Role.VIEWER)).get(address(asset))
    assert answer["Content-Type"] == "video/mp4"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Content-Disposition"] == f'inline; filename="{asset.name}"'
    assert answer["Cache-Control"] == "private, no-cache"
    assert answer["ETag"] == f'"{asset.sha256}"'


@pytest.mark.parametrize(
    ("media_type", "query", "disposition"),
    [
        ("video/mp4", "", "inline"),
        ("image/png", "", "inline"),
        ("audio/mpeg", "?download=0", "inline"),
        ("video/mp4", "?download=1", "attachment"),
        ("application/octet-stream", "", "attachment"),
        ("video/x-matroska", "", "attachment"),
        ("image/svg+xml", "", "attachment"),
        ("text/html", "", "attachment"),
        ("", "", "attachment"),
    ],
)
def test_only_what_is_known_to_be_harmless_is_shown(client, media_type, query, disposition):
    asset = copied(media_type=media_type)
    answer = signed_in(client, make_user(Role.VIEWER)).get(address(asset, query))
    assert answer["Content-Disposition"].split(";")[0] == disposition
    assert answer["Content-Type"] == (media_type or "application/octet-stream")


def test_a_download_is_noted_once_and_playing_is_none(client):
    asset, person = copied(), make_user(Role.VIEWER)
    signed_in(client, person)
    url = address(asset, "?download=1")
    client.get(address(asset))
    client.get(address(asset), headers={"Range": "bytes=0-"})
    client.head(url)
    client.get(url, headers={"Range": "bytes=1000-"})
    client.get(url, headers={"If-None-Match": f'"{asset.sha256}"'})
    assert downloads() == []
    client.get(url, headers={"Range": "bytes=0-1023"})
    client.get(url, headers={"Range": "bytes=1024-"})
    (entry,) = downloads()
    assert (entry.actor_name, entry.target_id) == (person.username, str(asset.generation_id))
    assert entry.data == {"name": asset.name, "bytes": len(CONTENT), "sha256": asset.sha256}


def test_what_the_browser_has_is_not_sent_again(client):
    asset = copied()
    signed_in(client, make_user(Role.VIEWER))
    answer = client.get(address(asset), headers={"If-None-Match": f'"{asset.sha256}"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_what_is_still_being_copied_says_when_to_come_again(client):
    asset = copied()
    signed_in(client, make_user(Role.VIEWER))
    Asset.objects.filter(pk=asset.pk).update(state=Asset.State.WAITING)
    answer = client.get(address(asset, name="result"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    Asset.objects.filter(pk=asset.pk).update(state=Asset.State.COPIED)
    answer = client.get(address(asset, name="result"), follow=True)
    assert answer.redirect_chain[-1][0] == address(asset)
    assert answer.status_code == 200


def test_another_name_is_another_file(client):
    asset = copied()
    signed_in(client, make_user(Role.VIEWER))
    assert client.get(address(asset, name="evil.html")).status_code == 404


@pytest.mark.parametrize(
    ("state", "status"),
    [("waiting", 404), ("failed", 404), ("too_large", 404), ("expired", 410), ("removed", 410)],
)
def test_what_is_not_there_is_not_given(client, state, status):
    asset = copied(state=state)
    assert signed_in(client, make_user(Role.VIEWER)).get(address(asset)).status_code == status


def test_a_file_that_has_vanished_is_not_found(client):
    asset = copied()
    default_storage.delete(asset.file.name)
    assert signed_in(client, make_user(Role.VIEWER)).get(address(asset)).status_code == 404


def test_a_result_is_only_read(client):
    asset = copied()
    assert signed_in(client, make_user(Role.ADMIN)).post(address(asset)).status_code == 405


def test_the_number_of_queries_of_a_file(client, django_assert_max_num_queries):
    asset = copied()
    signed_in(client, make_user(Role.VIEWER))
    with django_assert_max_num_queries(6):
        client.get(address(asset))


# Keeping


def press(client, what: str, generation: Generation):
    return client.post(reverse(f"portal:task-{what}", args=[generation.pk]))


def test_keep_and_release_as_operator(client):
    generation = make_generation(state=State.COMPLETED)
    signed_in(client, make_user(Role.OPERATOR))
    assert press(client, "keep", generation)["Location"] == reverse("portal:task", args=[generation.pk])
    generation.refresh_from_db()
    assert generation.kept_at is not None
    press(client, "release", generation)
    generation.refresh_from_db()
    assert generation.kept_at is None
    assert deeds() == ["result.keep", "result.release"]


@pytest.mark.parametrize("what", ["keep", "release"])
def test_keep_and_release_as_others(client, what):
    generation = make_generation(state=State.COMPLETED)
    assert press(client, what, generation).status_code == 302  # to sign in
    assert press(signed_in(client, make_user()), what, generation).status_code == 404
    assert press(signed_in(client, make_user(Role.VIEWER)), what, generation).status_code == 403
    assert client.get(reverse(f"portal:task-{what}", args=[generation.pk])).status_code == 405
    generation.refresh_from_db()
    assert generation.kept_at is None
    assert deeds() == ["permission.denied"]


# Retention


def past(**fields) -> Generation:
    long_ago = now() - timedelta(hours=30)
    return make_generation(
        state=State.COMPLETED, task={"ended_at": long_ago, "changed_at": long_ago}, **fields
    )


def test_the_page_shows_what_goes_next_and_starts_it(client, django_capture_on_commit_callbacks):
    copied(past(prompt="A grey heron"))
    copied(make_generation(state=State.COMPLETED, prompt="A young hare"))
    signed_in(client, make_user(Role.ADMIN))
    page = client.get(reverse("portal:results-retention")).content.decode()
    assert "<strong>1 file</strong>" in page and "<strong>1 task</strong>" in page
    assert page.index("A grey heron") < page.index("Removed later") < page.index("A young hare")
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(reverse("portal:results-retention"))
    assert answer["Location"] == reverse("portal:results-retention")
    assert deeds() == ["result.clean_up"]


def test_the_page_with_nothing_to_do(client):
    page = signed_in(client, make_user(Role.ADMIN)).get(reverse("portal:results-retention")).content.decode()
    assert "No results wait for removal" in page
    assert "Clean up now" not in page


def test_the_page_is_for_admins_of_the_portal(client):
    url = reverse("portal:results-retention")
    assert client.get(url).status_code == 302
    source = past().task.source
    for person in (make_user(), make_user(Role.OPERATOR), make_user(Role.ADMIN, source=source)):
        signed_in(client, person)
        assert client.get(url).status_code == 403
        assert client.post(url).status_code == 403
    assert not AuditEntry.objects.filter(action="result.clean_up").exists()
