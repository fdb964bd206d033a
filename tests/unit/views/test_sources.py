"""Sources: who sees what, and what their admins change."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.utils.timezone import now

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Node, Role, Source
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db

ADMIN_PAGES = ["change", "token", "certificate", "remove"]
DEEDS = ["pause", "resume", "check", *ADMIN_PAGES]


def make_admin(source: Source | None = None) -> User:
    return make_user(Role.ADMIN, source=source)


@pytest.fixture
def source() -> Source:
    return make_source(name="prod")


@pytest.fixture
def admin(client: Client, source: Source) -> Client:
    client.force_login(make_admin(source))
    return client


def make_demo_source(cluster: DemoCluster, **fields: object) -> Source:
    return make_source(
        **(
            {
                "name": "prod",
                "urls": [cluster.url],
                "fingerprints": [cluster.fingerprint],
                "token_id": cluster.token_id,
                "token_secret_sealed": connections.seal(cluster.token_secret),
            }
            | fields
        )
    )


@pytest.mark.parametrize(
    "page", ["/sources/", "/sources/{pk}/", *(f"/sources/{{pk}}/{page}" for page in ADMIN_PAGES)]
)
def test_anonymous_is_led_to_the_sign_in(client: Client, source: Source, page: str) -> None:
    assert client.get(page.format(pk=source.pk))["Location"].startswith("/account/login/")


@pytest.mark.parametrize("page", ["", *ADMIN_PAGES])
def test_stranger_cannot_tell_that_the_source_exists(client: Client, source: Source, page: str) -> None:
    client.force_login(make_user(Role.ADMIN, source=make_source()))
    assert client.get(f"/sources/{source.pk}/{page}").status_code == 404


@pytest.mark.parametrize("deed", DEEDS)
def test_stranger_cannot_do_anything_to_it(client: Client, source: Source, deed: str) -> None:
    client.force_login(make_user(Role.ADMIN, source=make_source()))
    assert client.post(f"/sources/{source.pk}/{deed}", {"name": "prod"}).status_code == 404
    assert Source.objects.filter(pk=source.pk, paused_at__isnull=True).exists()


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_deed_is_refused_without_the_role_and_noted(
    client: Client, source: Source, role: Role, deed: str
) -> None:
    client.force_login(make_user(role, source=source))
    assert client.post(f"/sources/{source.pk}/{deed}", {"name": "prod"}).status_code == 403
    assert Source.objects.filter(pk=source.pk, paused_at__isnull=True).exists()
    assert AuditEntry.objects.filter(action=Action.DENIED).count() == 1


@pytest.mark.parametrize("page", ADMIN_PAGES)
def test_viewer_does_not_see_the_pages_of_admins(client: Client, source: Source, page: str) -> None:
    client.force_login(make_user(Role.VIEWER, source=source))
    assert client.get(f"/sources/{source.pk}/{page}").status_code == 403


def test_list_holds_the_sources_one_has_a_role_on(client: Client, source: Source) -> None:
    make_source(name="hidden-one")
    client.force_login(make_user(Role.VIEWER, source=source))
    page = client.get("/sources/").text
    assert "prod" in page
    assert "hidden-one" not in page
    assert "Connect a source" not in page


def test_admin_of_all_may_connect_another(client: Client, source: Source) -> None:
    client.force_login(make_admin())
    assert "Connect a source" in client.get("/sources/").text


def test_viewer_sees_health_and_functions_but_not_the_connection(client: Client, source: Source) -> None:
    client.force_login(make_user(Role.VIEWER, source=source))
    page = client.get(f"/sources/{source.pk}/").text
    assert "See the tasks of everybody" in page
    for hidden in (source.urls[0], source.token_id, "AA:AA", "pveum", "Replace token"):
        assert hidden not in page


def test_admin_sees_the_connection_and_never_the_secret(admin: Client, source: Source) -> None:
    page = admin.get(f"/sources/{source.pk}/").text
    assert source.token_id in page
    assert "https://127.0.0.1:1" in page
    assert "00000000-0000" not in page
    assert source.token_secret_sealed not in page


def test_missing_privilege_comes_with_its_command(admin: Client, source: Source) -> None:
    page = admin.get(f"/sources/{source.pk}/").text
    assert "VM.Snapshot" in page
    assert "pveum acl modify /vms" in page


def test_failing_source_says_since_when_why_and_when_next(admin: Client, source: Source) -> None:
    at = now()
    source.failing_since, source.failures, source.next_pass_at = at, 3, at + timedelta(seconds=20)
    source.error_kind, source.error_text = "refused", "pve1:8006 refuses connections."
    source.save()
    card = admin.get("/sources/").text
    assert f"Unreachable since {at:%H:%M}, showing last known" in card
    assert "pve1:8006 refuses connections." in card
    assert f"Next try at {source.next_pass_at:%H:%M:%S}, after 3 failed passes" in card


def test_changed_certificate_leads_to_the_comparison(admin: Client, source: Source) -> None:
    source.failing_since, source.error_kind, source.error_text = now(), "certificate", "…"
    source.save()
    assert f"/sources/{source.pk}/certificate" in admin.get(f"/sources/{source.pk}/").text


def test_card_on_the_stream_is_the_card_on_the_page(admin: Client, source: Source) -> None:
    Node.objects.create(source=source, name="pve1", status="online")
    on_stream = render_to_string("sources/_card.html", {"source": source, "oob": True})
    assert 'hx-swap-oob="true"' in on_stream
    # what ages is left aside
    plain = re.sub(r"<time.*?</time>", "", on_stream.replace(' hx-swap-oob="true"', "")).strip()
    assert plain in re.sub(r"<time.*?</time>", "", admin.get("/sources/").text)


def test_pause_and_resume(admin: Client, source: Source) -> None:
    admin.post(f"/sources/{source.pk}/pause")
    assert "Paused since" in admin.get(f"/sources/{source.pk}/").text
    admin.post(f"/sources/{source.pk}/resume")
    assert "Reachable" in admin.get(f"/sources/{source.pk}/").text
    deeds = AuditEntry.objects.filter(target_id=str(source.pk)).values_list("action", flat=True)
    assert {Action.SOURCE_PAUSE, Action.SOURCE_RESUME} <= set(deeds)


def test_paused_source_is_not_checked(admin: Client, source: Source) -> None:
    admin.post(f"/sources/{source.pk}/pause")
    assert admin.post(f"/sources/{source.pk}/check").status_code == 409


def test_check_reads_version_and_permissions(client: Client) -> None:
    client.force_login(make_admin())
    with DemoCluster(time_scale=0.01) as cluster:
        source = make_demo_source(cluster, version="", permissions={}, permissions_at=None)
        assert "have not been read yet" in client.get(f"/sources/{source.pk}/").text
        page = client.post(f"/sources/{source.pk}/check", follow=True).text
    assert "Version and permissions are fresh" in page
    assert "Proxmox VE 9." in page


def test_failed_check_says_why(admin: Client, source: Source) -> None:
    page = admin.post(f"/sources/{source.pk}/check", follow=True).text
    assert "127.0.0.1:1 refuses connections" in page


def test_name_and_addresses_are_changed(admin: Client, source: Source) -> None:
    assert 'value="prod"' in admin.get(f"/sources/{source.pk}/change").text
    admin.post(f"/sources/{source.pk}/change", {"name": "prod-2", "urls": "pve1\npve2:443"})
    source.refresh_from_db()
    assert (source.name, source.urls) == ("prod-2", ["https://pve1:8006", "https://pve2:443"])


def test_wrong_change_is_not_shown_as_the_name(admin: Client, source: Source) -> None:
    make_source(name="other")
    answer = admin.post(f"/sources/{source.pk}/change", {"name": "other", "urls": "pve1"})
    assert answer.status_code == 422
    assert "has this name" in answer.text
    assert "<h1>Change prod</h1>" in answer.text


def test_token_is_replaced_and_tried(client: Client) -> None:
    client.force_login(make_admin())
    with DemoCluster(time_scale=0.01) as cluster:
        source = make_demo_source(cluster, token_secret_sealed=connections.seal("old"))
        given = {"token_id": cluster.token_id, "token_secret": cluster.token_secret}
        answer = client.post(f"/sources/{source.pk}/token", given, follow=True)
        assert "Version and permissions are fresh" in answer.text
        assert cluster.token_secret not in answer.text
    source.refresh_from_db()
    assert connections.unseal(source.token_secret_sealed) == cluster.token_secret
    entry = AuditEntry.objects.get(action=Action.SOURCE_SECRET)
    assert cluster.token_secret not in str(entry.data)


def test_wrong_new_token_is_stored_and_said_to_be_refused(client: Client) -> None:
    client.force_login(make_admin())
    with DemoCluster(time_scale=0.01) as cluster:
        source = make_demo_source(cluster)
        given = {"token_id": cluster.token_id, "token_secret": "11111111-1111-1111-1111-111111111111"}
        answer = client.post(f"/sources/{source.pk}/token", given, follow=True)
    assert 'data-level="error"' in answer.text
    assert "11111111-1111" not in answer.text


def test_secret_field_is_never_filled(admin: Client, source: Source) -> None:
    given = {"token_id": "nonsense", "token_secret": "my-secret-value"}
    answer = admin.post(f"/sources/{source.pk}/token", given)
    assert answer.status_code == 422
    assert "my-secret-value" not in answer.text


def test_new_certificate_is_shown_beside_the_old_and_accepted_after_the_click(client: Client) -> None:
    client.force_login(make_admin())
    with DemoCluster(time_scale=0.01) as cluster:
        old = cluster.fingerprint
        source = make_demo_source(cluster)
        address = f"/sources/{source.pk}/certificate"
        assert "There is nothing to do" in client.get(address).text
        new = cluster.change_certificate()
        page = client.get(address).text
        assert all(
            group in page for fingerprint in (old, new) for group in (fingerprint[:23], fingerprint[-23:])
        )
        assert client.post(address).status_code == 422
        assert client.post(address, {"compared": [old]}).status_code == 422
        source.refresh_from_db()
        assert source.fingerprints == [old]
        assert client.post(address, {"compared": [new]}).status_code == 302
    source.refresh_from_db()
    assert source.fingerprints == [new]
    assert AuditEntry.objects.filter(action=Action.SOURCE_CERTIFICATE).exists()


def test_pins_of_silent_addresses_are_kept(client: Client) -> None:
    client.force_login(make_admin())
    silent_pin = ":".join(["BB"] * 32)
    with DemoCluster(time_scale=0.01) as cluster:
        source = make_demo_source(
            cluster, urls=[cluster.url, "https://127.0.0.1:1"], fingerprints=[silent_pin]
        )
        page = client.get(f"/sources/{source.pk}/certificate").text
        assert "127.0.0.1:1 refuses connections" in page
        client.post(f"/sources/{source.pk}/certificate", {"compared": [cluster.fingerprint]})
        source.refresh_from_db()
        assert source.fingerprints == [cluster.fingerprint, silent_pin]


def test_wrong_ca_is_refused(admin: Client, source: Source) -> None:
    answer = admin.post(f"/sources/{source.pk}/certificate", {"way": "ca", "ca_pem": "hello"})
    assert answer.status_code == 422
    assert "not a certificate" in answer.text


def test_source_is_removed_after_its_name_was_typed(admin: Client, source: Source) -> None:
    make_task(source)
    assert "1 task with" in admin.get(f"/sources/{source.pk}/remove").text
    answer = admin.post(f"/sources/{source.pk}/remove", {"name": "Prod"})
    assert answer.status_code == 422
    assert Source.objects.filter(pk=source.pk).exists()
    admin.post(f"/sources/{source.pk}/remove", {"name": "prod"})
    assert not Source.objects.filter(pk=source.pk).exists()
    assert AuditEntry.objects.filter(action=Action.SOURCE_REMOVE, target_name="prod").exists()


def test_hostile_texts_of_a_remote_are_only_text(admin: Client, source: Source) -> None:
    source.error_text, source.failing_since = "<script>alert(1)</script>", now()
    source.save()
    Node.objects.create(source=source, name="<img src=x>", status="online")
    page = admin.get(f"/sources/{source.pk}/").text
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_sync_counts_and_stops_asking_when_it_is_done(admin: Client, source: Source) -> None:
    assert 'hx-trigger="every 1s"' in admin.get(f"/sources/{source.pk}/sync/").text
    source.first_synced_at = source.created_at
    source.save()
    part = admin.get(f"/sources/{source.pk}/sync/", headers={"HX-Request": "true"}).text
    assert "The first sync is done" in part
    assert "every 1s" not in part
    assert "<html" not in part


def test_sync_of_a_failing_source_says_why(admin: Client, source: Source) -> None:
    source.failing_since, source.error_text = source.created_at, "pve1 refuses connections."
    source.save()
    assert "pve1 refuses connections." in admin.get(f"/sources/{source.pk}/sync/").text


def test_stranger_does_not_see_the_sync(client: Client) -> None:
    client.force_login(make_user())
    assert client.get(f"/sources/{make_source().pk}/sync/").status_code == 404
