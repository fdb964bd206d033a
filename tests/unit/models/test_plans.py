"""How SQLite reads tasks: what is asked each second, and each page, must not grow with the history."""

import pytest
from django.db import connection

from tasks_app.models import Grant, Role, Source, Task
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.views.paging import open_among
from tests.factories import make_item, make_source, make_task, make_team, make_user

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the plans of SQLite"),
]


def test_poller_reads_open_tasks_of_a_source_by_their_own_index():
    assert "USING INDEX task_open" in Task.objects.unfinished().filter(source=1).explain()


def test_pages_read_open_tasks_by_their_keys_whatever_else_is_asked():
    plan = open_among(Task.objects.filter(type="vzdump")).order_by("-started_at", "-pk").explain()
    assert "task_state_newest" in plan or "task_open" in plan


def test_pasted_upid_is_looked_up_and_not_searched_for():
    source = make_source()
    user = make_user(Role.OPERATOR, source=source)
    filters = HistoryFilters(text=make_task(source).remote_id)
    assert "remote_id=?" in filters.apply(Task.objects.visible_to(user)).explain()


@pytest.mark.parametrize(
    ("roles", "index"), [(None, "task_newest"), (1, "task_source_newest"), (2, "task_newest")], ids=str
)
def test_first_page_is_read_in_the_order_of_an_index_and_not_sorted(roles, index):
    """With a role on all sources, on one, on two."""
    user = make_user(Role.OPERATOR) if roles is None else make_user()
    for _ in range(roles or 0):
        Grant.objects.create(user=user, source=make_source(), role=Role.OPERATOR)
    page = Task.objects.visible_to(user).finished().order_by("-started_at", "-pk")[:51]
    plan = page.explain()
    assert f"USING INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_open_tasks_are_those_that_have_not_ended():
    running = make_task()
    pending = make_task(state="pending")
    for state in ("completed", "failed", "cancelled", "lost"):
        make_task(state=state)
    assert set(Task.objects.unfinished()) == {running, pending}


def test_page_of_a_member_is_read_from_the_tasks_of_the_team_and_not_from_all():
    member = make_user()
    make_team(member, items=(make_item(),))
    page = Task.objects.visible_to(member).finished().order_by("-started_at", "-pk")[:51]
    plan = page.explain()
    assert "task_team_newest" in plan
    assert "SCAN" not in plan


def test_page_of_a_member_with_a_role_is_read_in_the_order_of_an_index():
    person = make_user(Role.OPERATOR, source=make_source())
    make_team(person, items=(make_item(),))
    plan = Task.objects.visible_to(person).finished().order_by("-started_at", "-pk")[:51].explain()
    assert "USING INDEX task_newest" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(("role_on", "queries"), [("all", 2), ("one", 3), ("team", 3)])
def test_what_a_person_sees_is_found_out_with_two_short_questions(
    role_on, queries, django_assert_num_queries
):
    person = make_user() if role_on == "team" else make_user(Role.OPERATOR, source=_source(role_on))
    if role_on == "team":
        make_team(person)
    with django_assert_num_queries(queries):
        list(Task.objects.visible_to(person))


def _source(role_on: str) -> Source | None:
    return make_source() if role_on == "one" else None


NEWEST = ("-started_at", "-pk")


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (HistoryFilters(node="pve1"), "task_node_newest"),
        (HistoryFilters(type="vzdump"), "task_type_newest"),
        (HistoryFilters(outcome="failed"), "task_state_newest"),
        (HistoryFilters(outcome="warnings"), "task_warned_newest"),
        (HistoryFilters(outcome="warnings", type="vzdump", node="pve1"), "task_warned_newest"),
        (HistoryFilters(outcome="attention"), "task_attention_newest"),
        (HistoryFilters(outcome="attention", type="vzdump", source=1, person="Ann"), "task_attention_newest"),
        (HistoryFilters(type="vzdump", outcome="failed"), "task_type_state"),
        (HistoryFilters(user="ann@pve"), "task_user_newest"),
        (HistoryFilters(person="Ann"), "task_person_newest"),
        (HistoryFilters(person="unknown"), "task_person_newest"),
        (HistoryFilters(vmid=303), "task_vmid_newest"),
        (HistoryFilters(team=1), "task_team_newest"),
    ],
    ids=str,
)
@pytest.mark.parametrize("sources", [None, 2], ids=["all", "some"])
def test_each_filter_of_the_history_is_read_in_the_order_of_an_index(filters, index, sources):
    user = make_user(Role.OPERATOR) if sources is None else make_user()
    for _ in range(sources or 0):
        Grant.objects.create(user=user, source=make_source(), role=Role.OPERATOR)
    for part in filters.parts(Task.objects.visible_to(user)):
        plan = part.order_by(*NEWEST)[:51].explain()
        assert index.replace("vmid", "new_vmid" if "new_vmid" in plan else "vmid") in plan
        assert "TEMP B-TREE" not in plan


def test_who_has_a_role_on_one_source_finds_its_waiting_failures_by_an_index():
    user = make_user(Role.OPERATOR, source=make_source())
    page = Task.objects.visible_to(user).unacknowledged_failures().order_by(*NEWEST)[:51]
    plan = page.explain()
    assert "task_attention_of_source" in plan
    assert "TEMP B-TREE" not in plan
