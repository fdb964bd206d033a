"""Connecting sources that make videos and images, and changing them. Nothing listens at their addresses."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import AuditEntry, Role, Source
from tasks_app.sources.generation.registry import DIALECTS
from tests.factories import (
    make_generation,
    make_generation_source,
    make_source,
    make_superuser,
    make_team,
    make_user,
)
from tests.unit.views.offers import SETTINGS

pytestmark = pytest.mark.django_db
KEY = "sk-very-secret-0123456789"
SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def admin() -> User:
    return make_user(Role.ADMIN, username="root1")


@pytest.fixture
def as_admin(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


def add_address(kind: str = "task_api") -> str:
    return f"/sources/add/generation/{kind}/"


def filled(**changes: Any) -> dict[str, Any]:
    return {"name": "studio", "url": NOBODY, "key": KEY, "settings": json.dumps(SETTINGS)} | changes


def test_cluster_page_leads_to_every_dialect(as_admin: Client) -> None:
    page = as_admin.get("/sources/add/").text
    for kind, name in DIALECTS.items():
        assert add_address(kind) in page and name in page
    assert as_admin.get("/sources/add/generation/")["Location"] == add_address()


@pytest.mark.parametrize("kind", list(DIALECTS))
def test_each_dialect_has_a_form_whose_defaults_its_adapter_takes(as_admin: Client, kind: str) -> None:
    page = as_admin.get(add_address(kind))
    assert page.status_code == 200
    form = page.context["form"]
    url = form["url"].value() or NOBODY
    data = {"name": kind, "url": url, "key": KEY, "settings": form["settings"].value(), "profile": ""}
    if "profile" in form.fields:
        data["profile"] = form.fields["profile"].choices[-1][0]
    stub_check(as_admin, add_address(kind), data)


@pytest.mark.parametrize("kind", list(DIALECTS))
def test_example_of_each_dialect_is_taken_by_its_adapter(as_admin: Client, kind: str) -> None:
    form = as_admin.get(add_address(kind)).context["form"]
    data = {"name": kind, "url": NOBODY, "key": KEY, "settings": form.sample}
    if "profile" in form.fields:
        data["profile"] = form.fields["profile"].choices[0][0]
    stub_check(as_admin, add_address(kind), data)


def stub_check(client: Client, address: str, data: dict[str, Any]) -> None:
    """Store it: the look that follows finds nobody, and the source is there all the same."""
    answer = client.post(address, data | {"url": NOBODY})
    assert answer.status_code == 302, answer.text
    assert Source.objects.get().is_generation


def test_source_is_stored_with_its_key_sealed(as_admin: Client) -> None:
    team = make_team(name="Film")
    data = filled(teams=[team.pk], limit_total="5", limit_video="1", webhook="on", webhook_secret=SECRET)
    answer = as_admin.post(add_address(), data)
    source = Source.objects.get()
    assert answer["Location"] == f"/sources/{source.pk}/"
    assert source.kind == "task_api" and source.urls == [NOBODY] and list(source.teams.all()) == [team]
    assert source.settings == SETTINGS | {"limits": {"total": 5, "video": 1}, "webhooks": True}
    assert KEY not in source.token_secret_sealed
    assert connections.unseal(source.token_secret_sealed) == KEY
    assert connections.unseal(source.webhook_secret_sealed) == SECRET


def test_secrets_are_in_no_page_and_no_audit_entry(as_admin: Client) -> None:
    settings = SETTINGS | {"headers": {"X-Api-Key": "header-secret"}}
    as_admin.post(add_address(), filled(webhook_secret=SECRET, settings=json.dumps(settings)))
    source = Source.objects.get()
    as_admin.post(f"/sources/{source.pk}/key", {"key": "another-secret", "webhook_secret": ""})
    pages = "".join(as_admin.get(f"/sources/{source.pk}/{path}").text for path in ("", "generation", "key"))
    wrong = as_admin.post(add_address(), filled(url="nonsense")).text
    trail = json.dumps(list(AuditEntry.objects.values_list("data", flat=True)))
    for secret in (KEY, SECRET, "another-secret"):
        assert secret not in pages + wrong + trail
    assert "header-secret" not in trail and "•••" in trail.encode().decode("unicode_escape")


def test_deeds_are_audited_with_before_and_after(as_admin: Client) -> None:
    as_admin.post(add_address(), filled())
    source = Source.objects.get()
    as_admin.post(f"/sources/{source.pk}/generation", filled(name="atelier", limit_total="3"))
    as_admin.post(f"/sources/{source.pk}/generation", filled(name="atelier", limit_total="3"))
    as_admin.post(f"/sources/{source.pk}/key", {"key": "new-key"})
    entries = {entry.action: entry for entry in AuditEntry.objects.filter(target_kind="source")}
    assert entries["source.add"].data["after"]["url"] == NOBODY
    change = entries["source.change"].data
    assert change["before"] == {"name": "studio", "settings.limits": None}
    assert change["after"] == {"name": "atelier", "settings.limits": {"total": 3}}
    assert entries["source.secret"].data["after"] == {"key": "set"}
    assert AuditEntry.objects.filter(action="source.change").count() == 1


def test_change_of_a_secret_in_the_settings_is_stored(as_admin: Client) -> None:
    source = make_generation_source(settings={"headers": {"X-Api-Key": "old"}})
    settings = json.dumps({"headers": {"X-Api-Key": "new"}})
    as_admin.post(f"/sources/{source.pk}/generation", filled(settings=settings))
    source.refresh_from_db()
    assert source.settings["headers"]["X-Api-Key"] == "new"


WRONG = [
    ({"name": ""}, "This field is required."),
    ({"name": "Taken"}, "There is a source of this name already."),
    ({"url": "studio"}, "Give an address like"),
    ({"url": "ftp://studio"}, "Give an address like"),
    ({"url": "http://user:pw@studio"}, "without user, query or fragment"),
    ({"url": "http://studio/?key=1"}, "without user, query or fragment"),
    ({"url": "http://studio:99999"}, "Give an address like"),
    ({"url": "http://[::1"}, "Give an address like"),
    ({"key": "two words"}, "A key has no blanks"),
    ({"key": "ключ"}, "A key has no blanks"),
    ({"settings": "{"}, "This is no JSON: "),
    ({"settings": "[]"}, "The settings are a JSON object"),
    ({"settings": "[" * 100_000}, "no JSON that can be used"),
    ({"settings": '{"a": NaN}'}, "no JSON that can be used"),
    ({"settings": '{"offers": 5}'}, "&quot;offers&quot; is a list"),
    (
        {"settings": '{"offers": [{"key": "a", "kind": "song"}]}'},
        "Offer &quot;a&quot;: &quot;kind&quot; is one of",
    ),
    ({"limit_total": "0"}, "greater than or equal to 1"),
    ({"fingerprints": "AA:BB"}, "64 hexadecimal digits"),
    ({"ca_pem": "no certificate"}, "not a certificate"),
    ({"ca_pem": "-----BEGIN PRIVATE KEY-----"}, "holds a private key"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_input_is_named_and_nothing_is_stored(
    as_admin: Client, changes: dict[str, str], words: str
) -> None:
    make_source(name="Taken")
    answer = as_admin.post(add_address(), filled(**changes))
    assert answer.status_code == 422
    assert words in answer.text
    assert not Source.objects.exclude(name="Taken").exists()


def test_hosted_service_needs_a_key_and_an_own_server_does_not(as_admin: Client) -> None:
    assert as_admin.post(add_address("fal"), filled(key="", settings="{}")).status_code == 422
    assert as_admin.post(add_address(), filled(key="")).status_code == 302


def test_connection_is_checked_without_storing_and_says_what_is_wrong(as_admin: Client) -> None:
    headers = {"HX-Request": "true"}
    part = as_admin.post(add_address(), filled(check="1"), headers=headers).text
    assert "The check failed." in part and "<form" not in part
    part = as_admin.post(add_address(), filled(check="1", url="x"), headers=headers).text
    assert "Nothing was asked" in part and "Address: Give an address" in part
    assert not Source.objects.exists()
    page = as_admin.post(add_address(), filled(check="1"))
    assert page.status_code == 200 and "Enter the key again" in page.text and KEY not in page.text


def test_form_of_a_stored_source_holds_what_is_stored(as_admin: Client) -> None:
    settings = SETTINGS | {"limits": {"image": 2}, "webhooks": True}
    source = make_generation_source(name="studio", settings=settings)
    team = make_team(name="Film")
    source.teams.add(team)
    page = as_admin.get(f"/sources/{source.pk}/generation").text
    assert 'name="limit_image" value="2"' in page and "Short video" in page
    assert f'name="teams" value="{team.pk}" id="id_teams_0" checked' in page
    assert "&quot;limits&quot;" not in page and 'name="key"' not in page


def test_saving_an_untouched_form_changes_nothing(as_admin: Client) -> None:
    source = make_generation_source(settings=SETTINGS | {"limits": {"image": 2}, "webhooks": True})
    form = as_admin.get(f"/sources/{source.pk}/generation").context["form"]
    data = {name: form[name].value() for name in form.fields}
    as_admin.post(f"/sources/{source.pk}/generation", {k: v for k, v in data.items() if v not in (None, "")})
    stored = Source.objects.get()
    assert stored.settings == source.settings and stored.name == source.name
    assert not AuditEntry.objects.filter(action="source.change").exists()


def test_key_is_replaced_left_or_removed(as_admin: Client) -> None:
    source = make_generation_source(webhook_secret_sealed=connections.seal(SECRET))
    address = f"/sources/{source.pk}/key"
    assert as_admin.post(address, {}).status_code == 422
    assert as_admin.post(address, {"key": "x", "remove_key": "on"}).status_code == 422
    as_admin.post(address, {"key": "new-key"})
    source.refresh_from_db()
    assert connections.unseal(source.token_secret_sealed) == "new-key"
    assert connections.unseal(source.webhook_secret_sealed) == SECRET
    as_admin.post(address, {"remove_key": "on", "remove_webhook_secret": "on"})
    source.refresh_from_db()
    assert source.token_secret_sealed == "" and source.webhook_secret_sealed == ""


def test_source_page_shows_offers_load_teams_and_failures(as_admin: Client) -> None:
    source = make_generation_source(name="studio", settings=SETTINGS | {"limits": {"total": 4, "video": 1}})
    source.teams.add(make_team(name="Film"))
    make_generation(source, state="processing")
    make_generation(source, hold_reason="The provider asked to wait.")
    make_generation(
        source, state="failed", problem_kind="no_credit", task={"error_line": "402", "ended_at": now()}
    )
    page = as_admin.get(f"/sources/{source.pk}/").text
    for words in ("Short video", "1 task<", "4 in all, 1 video<", "Film", "no credit left: 402"):
        assert words in page
    assert "1: The provider asked to wait." in page
    assert "Nodes" not in page and "Privileges" not in page and "UPID" not in page


@pytest.mark.parametrize("kind", ["credentials", "unauthorized"])
def test_refused_key_is_said_and_leads_to_replacing_it(as_admin: Client, kind: str) -> None:
    source = make_generation_source(failing_since=now(), error_kind=kind, error_text="401")
    page = as_admin.get(f"/sources/{source.pk}/").text
    assert "The key is refused." in page and f"/sources/{source.pk}/key" in page


def test_card_names_what_it_makes_and_no_nodes(as_admin: Client) -> None:
    make_generation_source(name="studio", settings=SETTINGS)
    page = as_admin.get("/sources/").text
    assert "Short video, Picture" in page and "Nodes" not in page


def test_check_of_a_stored_source_is_audited_and_told(as_admin: Client) -> None:
    source = make_generation_source(name="studio")
    answer = as_admin.post(f"/sources/{source.pk}/generation/check", follow=True)
    assert answer.status_code == 200
    assert AuditEntry.objects.get(action="source.check").result == "failed"
    Source.objects.update(paused_at=now())
    assert as_admin.post(f"/sources/{source.pk}/generation/check").status_code == 409


PAGES = ["generation", "key", "remove"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_only_admins_change_it(client: Client, role: Role, path: str) -> None:
    source = make_generation_source()
    client.force_login(make_user(role))
    assert client.get(f"/sources/{source.pk}/{path}").status_code == 403
    assert client.post(f"/sources/{source.pk}/{path}", {}).status_code == 403
    assert client.get(f"/sources/{source.pk}/").status_code == 200


def test_stranger_gets_404_and_may_add_none(client: Client) -> None:
    source = make_generation_source()
    client.force_login(make_user())
    for path in ("", *PAGES):
        assert client.get(f"/sources/{source.pk}/{path}").status_code == 404
    assert client.get(add_address()).status_code == 403
    assert client.post(add_address(), filled()).status_code == 403


def test_pages_of_clusters_and_of_these_do_not_mix(client: Client) -> None:
    client.force_login(make_superuser())
    cluster, source = make_source(), make_generation_source()
    for path in ("generation", "key"):
        assert client.get(f"/sources/{cluster.pk}/{path}").status_code == 404
    for path in ("change", "token", "certificate"):
        assert client.get(f"/sources/{source.pk}/{path}").status_code == 404
    assert client.get(add_address("proxmox")).status_code == 404


def test_it_is_paused_resumed_and_removed_like_a_cluster(as_admin: Client) -> None:
    source = make_generation_source(name="studio")
    make_generation(source)
    as_admin.post(f"/sources/{source.pk}/pause")
    assert Source.objects.get().paused_at is not None
    as_admin.post(f"/sources/{source.pk}/resume")
    assert Source.objects.get().paused_at is None
    assert "results, kept ones too" in as_admin.get(f"/sources/{source.pk}/remove").text
    as_admin.post(f"/sources/{source.pk}/remove", {"name": "studio"})
    assert not Source.objects.exists()
