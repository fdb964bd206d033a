"""The inbox, its count in the bar, and the bar itself."""

import pytest
from django.test import Client

from tasks_app.models import Notice, Role
from tasks_app.services.notices import notify
from tests.factories import make_generation_source, make_source, make_superuser, make_team, make_user

pytestmark = pytest.mark.django_db


def test_anonymous_is_led_to_the_sign_in(client: Client) -> None:
    assert client.get("/inbox/")["Location"].startswith("/account/login/")
    assert client.post("/inbox/read")["Location"].startswith("/account/login/")


def test_inbox_shows_ones_own_notices_and_the_bar_counts_them(client: Client) -> None:
    person = make_user()
    notify([person], key="a", text="The lease of web-07 ends. <b>", path="/machines/1/")
    notify([make_user()], key="a", text="Somebody else's")
    client.force_login(person)
    page = client.get("/inbox/").text
    assert "The lease of web-07 ends. &lt;b&gt;" in page
    assert "Somebody else" not in page
    assert 'aria-label="Inbox, 1 unread"' in page


def test_opening_one_marks_it_and_leads_there(client: Client) -> None:
    person = make_user()
    notify([person], key="a", text="…", path="/machines/1/")
    client.force_login(person)
    notice = Notice.objects.get()
    assert client.get(f"/inbox/{notice.pk}/read").status_code == 405
    assert client.post(f"/inbox/{notice.pk}/read")["Location"] == "/machines/1/"
    assert 'aria-label="Inbox"' in client.get("/inbox/").text


@pytest.mark.parametrize("path", ["", "//evil.example/", "https://evil.example/", "javascript:alert(1)"])
def test_a_notice_leads_nowhere_else(client: Client, path: str) -> None:
    person = make_user()
    notify([person], key="a", text="…", path=path)
    client.force_login(person)
    assert client.post(f"/inbox/{Notice.objects.get().pk}/read")["Location"] == "/inbox/"


def test_notices_of_others_are_not_found(client: Client) -> None:
    notify([make_user()], key="a", text="…")
    client.force_login(make_user())
    assert client.post(f"/inbox/{Notice.objects.get().pk}/read").status_code == 404
    client.post("/inbox/read")
    assert Notice.objects.get().read_at is None


def test_all_are_marked_at_once(client: Client) -> None:
    person = make_user()
    for key in "abc":
        notify([person], key=key, text=key)
    client.force_login(person)
    assert client.post("/inbox/read")["Location"] == "/inbox/"
    assert not Notice.objects.filter(read_at__isnull=True).exists()


def test_inbox_takes_as_many_queries_for_many(client: Client, django_assert_num_queries) -> None:
    person = make_user()
    client.force_login(person)
    for number in range(150):
        notify([person], key=str(number), text="…")
    with django_assert_num_queries(5):  # session, person, notices, navigation (2)
        page = client.get("/inbox/").text
    assert "The newest 100 are shown" in page


def sections(client: Client, person) -> list[str]:
    client.force_login(person)
    context = client.get("/inbox/").context
    return [item.words for item in context["items"]] + [item.words for item in context["more"]]


def test_the_bar_shows_what_one_may_open(client: Client) -> None:
    member, lead = make_user(), make_user()
    make_team(member, admins=(lead,))
    begin = ["Dashboard", "Tasks"]
    assert sections(client, make_user()) == begin
    begin.append("History")
    assert sections(client, member) == [*begin, "Catalogue", "Machines", "Teams"]
    assert sections(client, lead) == [*begin, "Catalogue", "Machines", "Approvals", "Teams"]
    viewer = make_user(Role.VIEWER, source=make_source())
    assert sections(client, viewer) == [*begin, "Machines", "Guests", "Sources"]
    everything = [
        *begin, "Catalogue", "Machines", "Approvals", "Guests", "Audit", "Sources", "Catalogue items", "Teams",
        "People", "Identities", "Time limits", "Result retention", "Task retention",
    ]  # fmt: skip
    assert sections(client, make_superuser()) == everything
    assert sections(client, make_user(Role.ADMIN)) == everything


def test_who_makes_something_has_the_forms_in_the_bar_and_who_only_looks_the_gallery(client: Client) -> None:
    source = make_generation_source()
    maker, member = make_user(Role.OPERATOR, source=source), make_user()
    make_team(member).generation_sources.add(source)
    looker, stranger = make_user(Role.VIEWER, source=source), make_user(Role.VIEWER, source=make_source())
    shown = {"Generate", "Gallery"}
    assert [shown.intersection(sections(client, person)) for person in (maker, member, looker, stranger)] == [
        {"Generate"},
        {"Generate"},
        {"Gallery"},
        set(),
    ]


@pytest.mark.parametrize(
    ("role", "section"), [(Role.ADMIN, "Generate"), (Role.VIEWER, "Gallery")], ids=["makes", "looks"]
)
def test_the_gallery_belongs_to_the_section_that_leads_there(client: Client, role: str, section: str) -> None:
    client.force_login(make_user(role, source=make_generation_source()))
    context = client.get("/gallery/").context
    assert [item.words for item in context["items"] if item.is_current] == [section]
    assert not context["more_is_current"]
