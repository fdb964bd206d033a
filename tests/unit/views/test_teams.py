"""Pages of teams, as everybody."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.models import AuditEntry, Role, Team
from tests.factories import (
    make_generation,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db
FORM = {"name": "Research", "slug": "research", "max_parallel_clones": "2", "max_memory_gib": "8"}
DEEDS = ("change", "quota", "members", "items", "remove")


@pytest.fixture
def people():
    """A team with a machine, and somebody of every sort."""
    leader, member = make_user(), make_user()
    item = make_item()
    team = make_team(member, admins=(leader,), items=(item,), name="Physics", max_cores=8, ceiling_cores=16)
    make_machine(make_order(team, item=item, actor=member), cores=2)
    return team, {
        "team admin": leader,
        "member": member,
        "portal admin": make_user(Role.ADMIN),
        "auditor": make_user(Role.AUDITOR),
        "viewer": make_user(Role.VIEWER),
        "source admin": make_user(Role.ADMIN, source=item.source),
        "stranger": make_user(),
    }


@pytest.mark.parametrize("path", ["/teams/", "/teams/add/", "/teams/1/"])
def test_anonymous_is_led_to_the_sign_in(client: Client, path: str) -> None:
    assert client.get(path)["Location"].startswith("/account/login/")


@pytest.mark.parametrize(
    ("who", "listed", "added", "shown"),
    [
        ("portal admin", 200, 200, 200),
        ("auditor", 200, 403, 200),
        ("team admin", 200, 403, 200),
        ("member", 200, 403, 200),
        ("source admin", 403, 403, 404),
        ("viewer", 403, 403, 404),
        ("stranger", 403, 403, 404),
    ],
)
def test_who_sees_which_page(client: Client, people, who: str, listed: int, added: int, shown: int) -> None:
    team, everybody = people
    client.force_login(everybody[who])
    found = [client.get(path).status_code for path in ("/teams/", "/teams/add/", f"/teams/{team.pk}/")]
    assert found == [listed, added, shown]


@pytest.mark.parametrize("who", ["auditor", "member", "source admin", "viewer", "stranger"])
@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_else_changes_anything(client: Client, people, who: str, deed: str) -> None:
    team, everybody = people
    client.force_login(everybody[who])
    sees = who in ("auditor", "member")
    assert client.post(f"/teams/{team.pk}/{deed}", FORM).status_code == (403 if sees else 404)
    team.refresh_from_db()
    assert (team.slug, team.max_cores) != ("research", None)


def test_members_see_quota_and_people_but_no_forms(client: Client, people) -> None:
    team, everybody = people
    client.force_login(everybody["member"])
    page = client.get(f"/teams/{team.pk}/").content.decode()
    assert "2 of 8" in page
    assert everybody["team admin"].username in page
    assert f"/teams/{team.pk}/" not in page.replace(f'href="/teams/{team.pk}/"', "")


def test_team_admin_sets_the_quota_within_the_ceiling(client: Client, people) -> None:
    team, everybody = people
    client.force_login(everybody["team admin"])
    assert client.post(f"/teams/{team.pk}/quota", {"max_cores": "16"}).status_code == 302
    answer = client.post(f"/teams/{team.pk}/quota", {"max_cores": "17"})
    assert answer.status_code == 422
    assert "At most 16 cores" in answer.content.decode()
    team.refresh_from_db()
    assert team.max_cores == 16
    assert client.post(f"/teams/{team.pk}/change", FORM).status_code == 403


def test_portal_admin_adds_a_team_and_fills_it(client: Client) -> None:
    client.force_login(make_superuser())
    answer = client.post("/teams/add/", FORM)
    team = Team.objects.get()
    assert answer["Location"] == f"/teams/{team.pk}/"
    assert team.max_memory_mb == 8 * 1024
    person, item = make_user(), make_item()
    base = f"/teams/{team.pk}"
    for path, data in (
        (f"{base}/members", {"person": person.pk}),
        (f"{base}/members/{person.pk}/promote", {}),
        (f"{base}/items", {"item": item.pk}),
    ):
        assert client.post(path, data).status_code == 302
    assert list(Team.objects.led_by(person)) == [team]
    assert list(team.items.all()) == [item]
    for path in (
        f"{base}/members/{person.pk}/demote",
        f"{base}/items/{item.pk}/revoke",
        f"{base}/members/{person.pk}/remove",
    ):
        assert client.post(path).status_code == 302
    assert client.post(f"{base}/members/{person.pk}/remove").status_code == 404
    assert client.post(f"{base}/remove")["Location"] == "/teams/"
    assert not Team.objects.exists()


def test_memory_that_is_wrong_is_told_on_its_field(client: Client) -> None:
    client.force_login(make_superuser())
    answer = client.post("/teams/add/", FORM | {"ceiling_memory_gib": "4"})
    assert answer.status_code == 422
    assert "max_memory_gib" in answer.context["form"].errors


def test_a_team_with_machines_stays_and_the_page_says_why(client: Client, people) -> None:
    team, everybody = people
    client.force_login(everybody["portal admin"])
    client.post(f"/teams/{team.pk}/remove")
    assert Team.objects.filter(pk=team.pk).exists()
    assert "has a machine" in client.get(f"/teams/{team.pk}/").content.decode()
    assert not AuditEntry.objects.filter(action="team.remove").exists()


def test_an_unknown_deed_on_a_member_is_not_there(client: Client, people) -> None:
    team, everybody = people
    client.force_login(everybody["portal admin"])
    assert client.post(f"/teams/{team.pk}/members/{everybody['member'].pk}/crown").status_code == 404


def test_the_list_needs_the_same_queries_for_many(client: Client) -> None:
    client.force_login(make_superuser())
    counts = []
    for _ in range(3):
        make_team(make_user(), items=(make_item(make_source()),))
        with CaptureQueriesContext(connection) as queries:
            client.get("/teams/")
        counts.append(len(queries))
    assert counts[1] == counts[2]


def test_limits_of_videos_are_set_by_portal_admins_and_read_by_members(client: Client, people) -> None:
    team, everybody = people
    make_generation(team=team)
    client.force_login(everybody["portal admin"])
    sent = FORM | {"max_generations": "4", "max_generations_per_day": "30"}
    assert client.post(f"/teams/{team.pk}/change", sent).status_code == 302
    assert b'value="30"' in client.get(f"/teams/{team.pk}/").content
    client.force_login(everybody["team admin"])
    assert client.post(f"/teams/{team.pk}/quota", {"max_generations": "400"}).status_code == 302
    team.refresh_from_db()
    assert (team.max_generations, team.max_generations_per_day) == (4, 30)
    page = client.get(f"/teams/{team.pk}/").content.decode()
    assert "1 of 4" in page
    assert "1 of 30" in page


def test_a_negative_limit_of_videos_is_told_on_its_field(client: Client, people) -> None:
    team, everybody = people
    client.force_login(everybody["portal admin"])
    answer = client.post(f"/teams/{team.pk}/change", FORM | {"max_generations": "-1"})
    assert answer.status_code == 422
    assert "max_generations" in answer.context["form"].errors
