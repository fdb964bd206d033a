"""Orders that wait for somebody's word."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Order, Role, Stage
from tests.factories import (
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def lead() -> User:
    return make_user(username="lea")


@pytest.fixture
def waiting(lead: User) -> Order:
    """Two machines of ann's that wait for lea."""
    ann = make_user(username="ann")
    item = make_item(make_source(name="prod"), title="Debian 12")
    team = make_team(ann, admins=(lead,), items=(item,), name="Web", slug="web", max_machines=10)
    order = make_order(team, item=item, actor=ann, title="web-x", decision="waiting", reason="A course")
    for _ in range(2):
        make_machine(order, stage=Stage.APPROVAL)
    return order


@pytest.fixture
def lea(client: Client, lead: User, waiting: Order) -> Client:
    client.force_login(lead)
    return client


def decisions_of(order: Order) -> list[str]:
    return [f"/approvals/{order.pk}/{word}" for word in ("approve", "reject")]


def test_anonymous_is_led_to_the_sign_in(client: Client, waiting: Order) -> None:
    for page in ["/approvals/", *decisions_of(waiting)]:
        assert client.get(page)["Location"].startswith("/account/login/")
        assert client.post(page).status_code in (302, 405)


def test_stranger_cannot_tell_that_the_order_exists(client: Client, waiting: Order) -> None:
    client.force_login(make_user())
    assert "web-x" not in client.get("/approvals/").text
    assert {client.post(page, {"reason": "x"}).status_code for page in decisions_of(waiting)} == {404}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN])
def test_role_on_the_source_decides_nothing(client: Client, waiting: Order, role: Role) -> None:
    client.force_login(make_user(role, source=waiting.source))
    assert "web-x" not in client.get("/approvals/").text
    assert {client.get(page).status_code for page in decisions_of(waiting)} == {403}
    assert {client.post(page, {"reason": "x"}).status_code for page in decisions_of(waiting)} == {403}


def test_requester_does_not_approve_what_they_asked_for(client: Client, waiting: Order) -> None:
    client.force_login(waiting.actor)
    assert "You approve no orders" in client.get("/approvals/").text
    assert client.post(f"/approvals/{waiting.pk}/approve").status_code == 403


def test_admin_of_another_team_is_a_stranger(client: Client, waiting: Order) -> None:
    other = make_user()
    make_team(admins=(other,))
    client.force_login(other)
    assert "Nothing waits for you" in client.get("/approvals/").text
    assert client.post(f"/approvals/{waiting.pk}/approve").status_code == 404


@pytest.mark.parametrize("who", ["superuser", "admin of all sources"])
def test_portal_admin_decides_in_every_team(client: Client, waiting: Order, who: str) -> None:
    client.force_login(make_superuser() if who == "superuser" else make_user(Role.ADMIN))
    assert "web-x" in client.get("/approvals/").text
    assert client.post(f"/approvals/{waiting.pk}/approve").status_code == 302


def test_inbox_says_who_what_why_and_the_quota(lea: Client, waiting: Order) -> None:
    page = lea.get("/approvals/").text
    for words in ("ann", "2 × Debian 12", "A course", "0 → 2 of 10", "2 cores"):
        assert words in page


def test_approved_order_is_queued_and_audited(lea: Client, waiting: Order) -> None:
    answer = lea.post(f"/approvals/{waiting.pk}/approve", {"reason": "fine"}, headers=HTMX)
    assert answer["HX-Redirect"] == "/approvals/"
    assert set(waiting.machines.values_list("stage", flat=True)) == {"queued"}
    assert AuditEntry.objects.filter(action=Action.ORDER_APPROVE.value).count() == 1


def test_rejecting_needs_a_reason(lea: Client, waiting: Order) -> None:
    for reason in ("", "  "):
        answer = lea.post(f"/approvals/{waiting.pk}/reject", {"reason": reason}, headers=HTMX)
        assert answer.status_code == 422
        assert answer.context["form"].errors["reason"]
    waiting.refresh_from_db()
    assert waiting.decision == "waiting"


def test_rejected_order_tells_the_requester_who_and_why(lea: Client, waiting: Order, client: Client) -> None:
    lea.post(f"/approvals/{waiting.pk}/reject", {"reason": "Too large"})
    client.force_login(waiting.actor)
    page = client.get(f"/orders/{waiting.pk}/").text
    assert "Rejected by lea" in page
    assert "Too large" in page
    assert "every 2s" not in page


def test_second_decision_is_refused(lea: Client, waiting: Order) -> None:
    lea.post(f"/approvals/{waiting.pk}/approve")
    assert lea.post(f"/approvals/{waiting.pk}/reject", {"reason": "late"}).status_code == 409
    waiting.refresh_from_db()
    assert waiting.decision == "approved"


def test_order_page_offers_the_decision_to_those_who_may(lea: Client, waiting: Order) -> None:
    page = lea.get(f"/orders/{waiting.pk}/").text
    assert all(address in page for address in decisions_of(waiting))


def test_decisions_are_listed(lea: Client, waiting: Order) -> None:
    lea.post(f"/approvals/{waiting.pk}/reject", {"reason": "Too large"})
    page = lea.get("/approvals/").text
    assert "Decided last" in page
    assert "Too large" in page


@pytest.mark.parametrize("word", ["approve", "reject"])
def test_question_is_a_part_for_htmx_and_a_page_without(lea: Client, waiting: Order, word: str) -> None:
    assert "<html" in lea.get(f"/approvals/{waiting.pk}/{word}").text
    assert "<html" not in lea.get(f"/approvals/{waiting.pk}/{word}", headers=HTMX).text


def test_inbox_takes_as_many_queries_for_many_orders(
    lea: Client, waiting: Order, django_assert_max_num_queries: Any
) -> None:
    for _ in range(2):
        with django_assert_max_num_queries(12):
            lea.get("/approvals/")
        for _ in range(8):
            order = make_order(waiting.team, item=waiting.item, actor=waiting.actor, decision="waiting")
            make_machine(order, stage=Stage.APPROVAL)
