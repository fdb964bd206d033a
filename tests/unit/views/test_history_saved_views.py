"""Saved views: kept for oneself or a team, listed in the menu, renamed and removed by whom they belong to."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.models import Role, SavedView
from tasks_app.services import saved_views
from tests.factories import make_superuser, make_task, make_team, make_user

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def save(user: User, name: str = "Failed backups", **fields: Any) -> Any:
    given = {"name": name, "on": "tasks", "query": "type=vzdump&outcome=failed"} | fields
    return signed_in(user).post("/history/views/add", given)


def menu(answer: Any) -> list[tuple[str, str]]:
    """(address, name) of the views in the menu."""
    part = answer.text[answer.text.index("saved-views") : answer.text.index("Save this search")]
    found = re.findall(r'<a href="([^"]*)"[^>]*>.*?<span class="one-line">([^<]*)</span>', part, re.DOTALL)
    return [(address.replace("&amp;", "&"), name) for address, name in found]


def test_search_is_kept_under_a_name_and_found_in_the_menu() -> None:
    make_task()
    person = make_user(Role.VIEWER)
    client = signed_in(person)
    page = client.get("/history/?type=vzdump&outcome=failed")
    asked = client.get(
        "/history/views/add?" + urlencode({"on": "tasks", "query": "type=vzdump&outcome=failed"})
    )
    assert "Outcome: Failed" in asked.text
    assert "/history/views/add?on=tasks" in page.text
    answer = save(person)
    address = "/history/?outcome=failed&type=vzdump"
    assert sorted(answer["Location"].partition("?")[2].split("&")) == ["outcome=failed", "type=vzdump"]
    ((found, name),) = menu(client.get("/history/"))
    assert name == "Failed backups" and sorted(found[10:].split("&")) == sorted(address[10:].split("&"))
    again = client.get(found)
    assert re.search(r'<a href="/history/\?[^"]*" aria-current="true"><svg', again.text)


def test_dialog_is_answered_with_a_redirect_for_htmx() -> None:
    client = signed_in(make_user(Role.VIEWER))
    asked = client.get("/history/views/add?on=tasks&query=q%3Dx", headers=HTMX)
    assert "<html" not in asked.text
    answer = client.post("/history/views/add", {"name": "x", "on": "tasks", "query": "q=xyz"}, headers=HTMX)
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/history/?q=xyz")


def test_what_is_wrong_in_a_query_is_not_kept() -> None:
    save(make_user(Role.VIEWER), query="outcome=zebra&q=x%00yz&next=//evil.example&below=9")
    assert "zebra" not in SavedView.objects.get().query and "evil" not in SavedView.objects.get().query


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "  "}, "required"),
        ({"name": "n" * 61}, "at most 60"),
        ({"name": "\x00"}, "Null characters"),
        ({"query": "q=" + "x" * 5000}, "too long"),
        ({"team": "999"}, "Select a valid choice"),
    ],
    ids=["no name", "long name", "nul", "long query", "strange team"],
)
def test_what_cannot_be_kept_is_said(fields: dict[str, str], words: str) -> None:
    answer = save(make_user(Role.VIEWER), **fields)
    assert answer.status_code == 422 and words in answer.text
    assert not SavedView.objects.exists()


def test_a_name_is_used_once_by_each_person() -> None:
    anna, bob = make_user(Role.VIEWER), make_user(Role.VIEWER)
    save(anna), save(bob)
    answer = save(anna, query="q=other")
    assert (
        answer.status_code == 422 and "You have saved a view named “Failed backups” already." in answer.text
    )
    assert SavedView.objects.count() == 2


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "MOST_OF_PERSON", 2)
    person = make_user(Role.VIEWER)
    save(person, "a"), save(person, "b")
    answer = save(person, "c")
    assert answer.status_code == 422 and "Remove one first" in answer.text


def test_private_views_are_ones_own_and_team_views_the_teams() -> None:
    anna, bob, stranger = make_user(Role.VIEWER), make_user(Role.VIEWER), make_user(Role.VIEWER)
    team = make_team(anna, bob)
    save(anna, "Mine"), save(anna, "Ours", team=team.pk)
    assert [name for _, name in menu(signed_in(anna).get("/history/"))] == ["Mine", "Ours"]
    assert [name for _, name in menu(signed_in(bob).get("/history/"))] == ["Ours"]
    assert menu(signed_in(stranger).get("/history/")) == []
    team.group.user_set.remove(bob)
    assert menu(signed_in(bob).get("/history/")) == []


def test_views_of_the_trail_are_for_who_may_read_it() -> None:
    auditor, member = make_user(Role.AUDITOR), make_user(Role.VIEWER)
    team = make_team(auditor, member)
    answer = save(auditor, "Refusals", on="audit", query="result=refused&type=vzdump", team=team.pk)
    assert answer["Location"] == "/audit/?result=refused"
    assert menu(signed_in(auditor).get("/audit/")) == [("/audit/?result=refused", "Refusals")]
    assert menu(signed_in(member).get("/history/")) == []


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 302), ("leader", 302), ("member", 403), ("stranger", 404)]
)
@pytest.mark.parametrize("deed", ["rename", "remove"])
def test_owner_and_team_admin_change_a_view_and_nobody_else(who: str, status: int, deed: str) -> None:
    people = {name: make_user(Role.VIEWER) for name in ("owner", "leader", "member", "stranger")}
    team = make_team(people["owner"], people["member"], admins=(people["leader"],))
    save(people["owner"], "Ours", team=team.pk)
    view = SavedView.objects.get()
    client = signed_in(people[who])
    may_change = f'aria-label="{deed.capitalize()} Ours"' in client.get("/history/").text
    assert may_change is (status == 302)
    address = f"/history/views/{view.pk}/{deed}"
    assert client.get(address).status_code == (200 if status == 302 else status)
    assert client.post(address, {"name": "Other"}).status_code == status
    names = list(SavedView.objects.values_list("name", flat=True))
    assert names == (["Ours"] if status != 302 else ["Other"] if deed == "rename" else [])


def test_renaming_to_a_name_that_is_taken_is_said() -> None:
    person = make_user(Role.VIEWER)
    save(person, "a"), save(person, "b")
    view = SavedView.objects.get(name="a")
    answer = signed_in(person).post(f"/history/views/{view.pk}/rename", {"name": "b"})
    assert answer.status_code == 422 and "already" in answer.text


def test_menu_costs_the_same_for_many_views() -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/history/").status_code == 200
        return len(queries)

    person = make_superuser()
    team = make_team(person)
    client = signed_in(person)
    save(person, "first", team=team.pk)
    client.get("/history/")
    before = count()
    for number in range(20):
        save(person, f"view {number}", team=team.pk if number % 2 else "")
    assert count() == before
