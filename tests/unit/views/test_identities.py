"""The pages that say whose Proxmox users and tokens are."""

import pytest
from django.test import Client

from tasks_app.models import AuditEntry, KnownIdentity, Role
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db
GIVEN = {"source": "", "remote_user": "ann@pve", "remote_token": "", "person_name": "Ann"}


@pytest.fixture
def identity():
    return KnownIdentity.objects.create(remote_user="root@pam", remote_token="ci", person_name="Cy")


@pytest.mark.parametrize("page", ["/identities/", "/identities/add/", "/identities/{pk}/"])
def test_anonymous_is_led_to_the_sign_in(client: Client, page: str, identity) -> None:
    assert client.get(page.format(pk=identity.pk))["Location"].startswith("/account/login/")


@pytest.mark.parametrize("role", [None, *Role])
def test_others_than_the_portals_admins_are_refused(client: Client, role: Role | None, identity) -> None:
    client.force_login(make_user(role, source=make_source()) if role else make_user())
    for page in ("/identities/", "/identities/add/", f"/identities/{identity.pk}/"):
        assert client.get(page).status_code == 403
    assert client.post("/identities/add/", GIVEN).status_code == 403
    assert client.post(f"/identities/{identity.pk}/", {"person_name": "Eve"}).status_code == 403
    assert client.post(f"/identities/{identity.pk}/remove").status_code == 403
    assert KnownIdentity.objects.get().person_name == "Cy"
    assert AuditEntry.objects.filter(action="permission.denied").count() == 6


@pytest.mark.parametrize("admin", [make_superuser, lambda: make_user(Role.ADMIN)], ids=["super", "admin"])
def test_an_admin_adds_changes_and_removes(client: Client, admin) -> None:
    client.force_login(admin())
    assert client.post("/identities/add/", GIVEN)["Location"] == "/identities/"
    row = KnownIdentity.objects.get()
    assert client.post(f"/identities/{row.pk}/", {"person_name": "Anna"})["Location"] == "/identities/"
    assert "Anna" in client.get("/identities/").text
    assert client.post(f"/identities/{row.pk}/remove")["Location"] == "/identities/"
    assert "Nobody is named yet" in client.get("/identities/").text
    actions = AuditEntry.objects.order_by("number").values_list("action", flat=True)
    assert list(actions)[1:] == ["identity.add", "identity.change", "identity.remove"]


def test_what_nobody_has_named_leads_to_a_filled_form(client: Client) -> None:
    client.force_login(make_superuser())
    source = make_source()
    make_task(source, remote_user="o'hara+1@pve", remote_token="ci")
    page = client.get("/identities/").text
    assert "o&#x27;hara+1@pve!ci" in page
    assert f"?source={source.pk}&amp;remote_user=o%27hara%2B1%40pve&amp;remote_token=ci" in page
    form = client.get(
        "/identities/add/", {"source": source.pk, "remote_user": "o'hara+1@pve", "remote_token": "ci"}
    ).text
    assert 'value="o&#x27;hara+1@pve"' in form
    assert f'<option value="{source.pk}" selected>' in form


@pytest.mark.parametrize(
    "wrong",
    [{"remote_user": "ann"}, {"person_name": ""}, {"source": "99999"}, {"remote_user": "a\0@pve"}],
    ids=["no realm", "no name", "no source", "NUL"],
)
def test_nonsense_stays_in_the_form(client: Client, wrong) -> None:
    client.force_login(make_superuser())
    assert client.post("/identities/add/", GIVEN | wrong).status_code == 422
    assert not KnownIdentity.objects.exists()


def test_nonsense_in_the_address_is_harmless(client: Client) -> None:
    client.force_login(make_superuser())
    assert client.get("/identities/add/?source=%00x&remote_user=%ED%A0%80").status_code == 200
    assert client.get("/identities/99999/").status_code == 404


def test_the_list_costs_the_same_for_many(client: Client, django_assert_max_num_queries) -> None:
    client.force_login(make_superuser())
    source = make_source()
    for number in range(20):
        KnownIdentity.objects.create(source=source, remote_user=f"u{number}@pve", person_name="X")
        make_task(source, remote_user=f"v{number}@pve")
    with django_assert_max_num_queries(16):
        client.get("/identities/")


def test_it_is_in_the_menu_of_admins_only(client: Client) -> None:
    client.force_login(make_superuser())
    assert 'href="/identities/"' in client.get("/").text
    client.force_login(make_user(Role.OPERATOR))
    assert 'href="/identities/"' not in client.get("/").text
