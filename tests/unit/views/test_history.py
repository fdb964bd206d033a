"""The history's page: who sees what, filters and paging by address, gaps, facets, grid, bars, acknowledging several."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tasks_app.ingest.texts import index_batch
from tasks_app.models import AuditEntry, HistoryGap, LogChunk, Node, Role, Task, TaskLog
from tasks_app.services import search
from tasks_app.services.histogram import Bucket
from tasks_app.templatetags.history_parts import _parts
from tests.factories import (
    make_generation,
    make_generation_source,
    make_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db
AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(answer: Any) -> list[int]:
    """Keys of the rows in the order they stand."""
    return [int(pk) for pk in re.findall(r'<tr id="task-(\d+)"', answer.text)]


def links(answer: Any, pattern: str) -> list[str]:
    """Addresses of links whose opening tag matches."""
    found = re.findall(r"<a [^>]*>", answer.text)
    return [
        re.search(r'href="([^"]*)"', tag).group(1).replace("&amp;", "&")  # type: ignore[union-attr]
        for tag in found
        if re.search(pattern, tag)
    ]


def make_indexed(**fields: Any) -> Task:
    task = make_task(**fields)
    while index_batch():
        pass
    return task


# ---- who sees what


def test_nobody_signed_in_is_led_to_the_sign_in(client: Client) -> None:
    answer = client.get("/history/")
    assert answer["Location"].startswith("/account/login/")


def test_only_tasks_of_sources_one_has_a_role_on_are_listed_and_counted() -> None:
    mine, other = make_task(state="failed"), make_task(state="failed", type="vzdump")
    answer = signed_in(make_user(Role.VIEWER, source=mine.source)).get("/history/")
    assert shown(answer) == [mine.pk]
    assert other.source.name not in answer.text
    assert 'title="vzdump"' not in answer.text  # not in the grid either


@pytest.mark.parametrize(
    ("role", "is_shown"),
    [(Role.VIEWER, False), (Role.OPERATOR, False), (Role.AUDITOR, True), (Role.ADMIN, True)],
)
def test_way_to_the_audit_trail_is_for_those_who_may_read_it(role: Role, is_shown: bool) -> None:
    answer = signed_in(make_user(role)).get("/history/")
    assert ('href="/audit/"' in answer.text) is is_shown


def test_navigation_leads_to_the_history_for_everybody_who_sees_tasks() -> None:
    answer = signed_in(make_user(Role.VIEWER)).get("/")
    assert 'href="/history/"' in answer.text
    assert 'href="/history/"' not in signed_in(make_user()).get("/").text


# ---- the address is the search


def test_every_filter_works_from_the_address_and_stands_there_as_a_chip_that_removes_it() -> None:
    source = make_source(name="prod")
    wanted = make_task(
        source, type="vzdump", state="failed", node="pve2", object_id="101", person="Anna", started_at=AT,
        remote_user="anna@pve",
    )  # fmt: skip
    for fields in (
        {"type": "qmstart"}, {"state": "completed"}, {"node": "pve3"}, {"object_id": "7"}, {"person": "Bob"},
        {"started_at": AT - timedelta(days=9)}, {"remote_user": "bob@pve"},
    ):  # fmt: skip
        like = {"type": "vzdump", "state": "failed", "node": "pve2", "object_id": "101", "person": "Anna"}
        make_task(source, **(like | {"started_at": AT, "remote_user": "anna@pve"} | fields))
    Node.objects.create(source=source, name="pve2")
    query = (
        f"source={source.pk}&type=vzdump&outcome=failed&node=pve2&vmid=101&person=Anna&user=anna@pve"
        "&since=2026-03-01&until=2026-03-03"
    )
    answer = signed_in(make_user(Role.VIEWER)).get(f"/history/?{query}")
    assert shown(answer) == [wanted.pk]
    removing = links(answer, r'class="chip".*aria-current="true"')
    assert any(
        "type" not in parse_qs(address[1:]) and "node" in parse_qs(address[1:]) for address in removing
    )
    assert "From: 2026-03-01" in answer.text


def test_wrong_values_in_the_address_are_left_out() -> None:
    task = make_task()
    answer = signed_in(make_user(Role.VIEWER)).get(
        "/history/?outcome=zebra&source=99999&vmid=x&since=yesterday&team=7&below=nonsense&node=%00"
    )
    assert shown(answer) == [task.pk]


def test_request_of_the_address_leads_to_its_page_whatever_it_is() -> None:
    client = signed_in(make_user(Role.VIEWER))
    assert 'href="/audit/requests/req-1/"' in client.get("/history/?request=req-1").text
    for text in ("a/b", "..", "%00", "%F0%9F%98%80", "a b"):
        assert client.get(f"/history/?request={text}").status_code == 200


def test_words_of_the_log_find_their_task() -> None:
    task = make_task(state="failed")
    log = TaskLog.objects.create(task=task, lines=1)
    LogChunk.objects.create(log=log, first=1, data=LogChunk.pack(["mount: zebra stripes are missing"]))
    make_indexed(state="failed")
    answer = signed_in(make_user(Role.VIEWER)).get("/history/?q=zebra+stripes")
    assert shown(answer) == [task.pk]


@pytest.mark.parametrize("page", ["/history/", "/tasks/"])
def test_a_upid_anywhere_in_the_search_opens_its_task(page: str) -> None:
    task, other = make_task(), make_task()
    client = signed_in(make_user(Role.VIEWER, source=task.source))
    answer = client.get(page, {"q": f"please look at {task.remote_id} thanks"})
    assert answer["Location"] == f"/tasks/{task.pk}/"
    assert client.get(page, {"q": other.remote_id}).status_code == 200  # a stranger's is not told


def test_a_text_of_two_letters_says_what_it_takes() -> None:
    make_task()
    answer = signed_in(make_user(Role.VIEWER)).get("/history/?q=ab")
    assert "at least three characters" in answer.text


def test_other_page_gets_of_the_search_what_means_something_there() -> None:
    source = make_source(name="prod")
    client = signed_in(make_superuser())
    tasks = client.get(f"/history/?q=backup&source={source.pk}&person=Anna&vmid=101&since=7d")
    assert links(tasks, "/audit/") != []
    there = parse_qs(links(tasks, r'href="/audit/\?')[0].partition("?")[2])
    assert there == {"q": ["backup"], "source": ["prod"], "actor": ["Anna"], "since": ["7d"]}
    audit = client.get("/audit/?q=backup&source=prod&actor=Anna&action=task.cancel&since=7d")
    back = parse_qs(links(audit, r'href="/history/\?')[0].partition("?")[2])
    assert back == {"q": ["backup"], "source": [str(source.pk)], "person": ["Anna"], "since": ["7d"]}


# ---- pages


def test_older_pages_keep_the_filters_and_lose_nothing() -> None:
    source = make_source()
    for number in range(120):
        make_task(source, state="failed", started_at=AT - timedelta(minutes=number))
        make_task(source, state="completed", started_at=AT - timedelta(minutes=number))
    client, address, seen = signed_in(make_user(Role.VIEWER)), "/history/?outcome=failed", []
    for _ in range(3):
        answer = client.get(address)
        seen += shown(answer)
        older = links(answer, "data-older")
        address = "/history/" + older[0] if older else ""
    assert len(seen) == len(set(seen)) == 120
    assert not address
    assert "That is all." in answer.text


def test_htmx_gets_the_list_alone() -> None:
    task = make_task()
    headers = {"HX-Request": "true", "HX-Target": "history-list"}
    answer = signed_in(make_user(Role.VIEWER)).get("/history/", headers=headers)
    assert shown(answer) == [task.pk]
    assert "<html" not in answer.text and 'id="history-list"' in answer.text


def test_a_search_that_ends_early_says_how_far_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCHES", (5, 5))
    monkeypatch.setattr(search, "SELECTED", 5)
    source = make_source()
    for number in range(30):
        # the words are in all of them, the outcome in the oldest only
        state = "failed" if number == 29 else "completed"
        make_task(source, state=state, object_name="zebra", started_at=AT - timedelta(minutes=number))
    for number in range(6):
        make_task(source, state="failed", object_name="horse", started_at=AT - timedelta(seconds=number))
    while index_batch():
        pass
    answer = signed_in(make_user(Role.VIEWER)).get("/history/?q=zebra&outcome=failed")
    assert shown(answer) == []
    assert "Looked back to" in answer.text and "found nothing" in answer.text
    assert "No task passes these filters" not in answer.text
    further = links(answer, "data-older")
    assert "outcome=failed" in further[0] and "below=" in further[0]


def test_queries_do_not_grow_with_the_rows() -> None:
    def count(client: Client, address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        return len(queries)

    source = make_source()
    client = signed_in(make_user(Role.AUDITOR))
    few = make_task(source, state="failed", type="vzdump")
    client.get("/history/")
    before = count(client, "/history/")
    for number in range(60):
        make_task(
            source, state="failed", type=f"type{number % 9}", node=f"pve{number % 7}", person=f"P{number % 5}"
        )
    assert count(client, "/history/") <= before + 1  # one more tells that there is a next page, at most
    assert before <= 26
    assert count(client, f"/history/?source={source.pk}&outcome=failed&since=30d") <= 32
    assert count(client, f"/history/?q={few.object_name}") <= 34


# ---- what there is beside the rows


def test_grid_has_failures_first_and_each_cell_leads_to_its_tasks() -> None:
    source = make_source()
    for type, failed in (("qmstart", 1), ("vzdump", 3)):
        for _ in range(failed):
            make_task(source, type=type, state="failed")
        make_task(source, type=type, state="completed")
    client = signed_in(make_user(Role.VIEWER))
    answer = client.get("/history/")
    grid = answer.text[answer.text.index('class="table grid"') :]
    assert grid.index("Backup") < grid.index("VM start")
    assert grid.index(">Failed<") < grid.index(">Completed<")
    cell = links(answer, r'aria-label="Backup, Failed: 3"')[0]
    assert len(shown(client.get("/history/" + cell))) == 3


def test_facets_lead_to_their_tasks_and_the_chosen_one_back() -> None:
    make_task(person="Anna"), make_task(person="Bob")
    client = signed_in(make_user(Role.VIEWER))
    rail = client.get("/history/").text
    assert "person=Anna" in rail and "person=Bob" in rail
    chosen = client.get("/history/?person=Anna")
    assert len(shown(chosen)) == 1
    facet = chosen.text[chosen.text.index('aria-label="Person"') :]
    current = re.search(r'<a href="([^"]*)" aria-current="true"', facet)
    assert current is not None and "person" not in current[1]


def test_bars_stand_in_their_hour_and_lead_to_it() -> None:
    at = now().replace(minute=30, second=0, microsecond=0) - timedelta(hours=5)
    task = make_task(state="failed", started_at=at)
    make_task(state="completed", started_at=at - timedelta(hours=3))
    client = signed_in(make_user(Role.VIEWER))
    answer = client.get("/history/?since=24h")
    bar = links(answer, r'data-bucket.*aria-label="[^"]*1 failed"')
    assert len(bar) == 1
    assert shown(client.get("/history/" + bar[0])) == [task.pk]


def test_a_failure_among_thousands_is_still_seen_in_its_bar() -> None:
    parts = _parts(Bucket(AT, AT, {"failed": 1, "completed": 9999}), 10_000)
    failed, completed = parts
    assert failed.height >= 3 and completed.height > 90
    assert round(failed.height + completed.height) == 100 and round(failed.y + failed.height) == 100


# ---- gaps, and what cannot be seen


def test_gap_lies_between_the_rows_it_lies_between_and_on_one_page_only() -> None:
    source = make_source(name="prod")
    node = Node.objects.create(source=source, name="pve1")
    for number in range(60):
        make_task(source, state="completed", started_at=AT - timedelta(hours=number))
    for hour in (10, 49, 50):  # the last row of the first page began 49 hours before
        until = AT - timedelta(hours=hour, minutes=10)
        HistoryGap.objects.create(node=node, since=until - timedelta(minutes=30), until=until)
    client = signed_in(make_user(Role.VIEWER))
    first = client.get("/history/")
    assert first.text.count('class="gap"') == 1
    rows = re.findall(r'<tr (?:id="task-(\d+)"|class="(gap)")', first.text)
    assert [place for place, row in enumerate(rows) if row[1]] == [11]
    second = client.get("/history/" + links(first, "data-older")[0])
    assert second.text.count('class="gap"') == 2
    assert "Nothing is known of prod / pve1" in second.text


def test_gaps_of_other_sources_are_not_told() -> None:
    mine = make_task()
    node = Node.objects.create(source=make_source(), name="pve9")
    HistoryGap.objects.create(node=node, since=AT - timedelta(hours=2), until=AT)
    answer = signed_in(make_user(Role.VIEWER, source=mine.source)).get("/history/")
    assert 'class="gap"' not in answer.text


def test_empty_history_says_why() -> None:
    viewer = make_user(Role.VIEWER)
    source = make_source(permissions={"/vms": {"VM.Audit": 1}})
    blind = signed_in(viewer).get("/history/")
    assert "The token may not see tasks" in blind.text and "pveum" in blind.text
    make_task(source)
    partly = signed_in(viewer).get("/history/")
    assert "Not everything is here" in partly.text
    filtered = signed_in(viewer).get("/history/?outcome=failed")
    assert "No task passes these filters" in filtered.text
    assert "No cluster to show" in signed_in(make_user()).get("/history/").text


def test_words_that_are_not_indexed_yet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NOT_INDEXED", 2)
    source = make_source()
    for _ in range(3):
        make_task(source, object_name="zebra")
    answer = signed_in(make_user(Role.VIEWER)).get("/history/?q=zebra")
    assert "still being indexed" in answer.text


# ---- acknowledging


def test_several_failures_are_acknowledged_with_one_note() -> None:
    source = make_source()
    failed = [make_task(source, state="failed") for _ in range(2)]
    left = make_task(source, state="failed")
    client = signed_in(make_user(Role.OPERATOR))
    assert "acknowledge-form" in client.get("/history/").text
    answer = client.post(
        "/history/acknowledge",
        {"task": [task.pk for task in failed], "note": "disk replaced", "query": "outcome=attention&below=9"},
    )
    assert answer["Location"] == "/history/?outcome=attention"
    noted = Task.objects.filter(acknowledged_note="disk replaced")
    assert set(noted.values_list("pk", flat=True)) == {task.pk for task in failed}
    assert Task.objects.unacknowledged_failures().get() == left
    assert AuditEntry.objects.filter(action="task.acknowledge").count() == 2
    assert shown(client.get("/history/?outcome=attention")) == [left.pk]


def test_viewer_is_refused_and_nothing_is_acknowledged() -> None:
    mine, other = make_task(state="failed"), make_task(state="failed")
    viewer = make_user(Role.VIEWER)
    assert "acknowledge-form" not in signed_in(viewer).get("/history/").text.replace(
        'form="acknowledge-form"', ""
    )
    assert signed_in(viewer).post("/history/acknowledge", {"task": [mine.pk]}).status_code == 403
    mixed = make_user(Role.OPERATOR, source=mine.source)
    mixed.grants.create(source=other.source, role=Role.VIEWER)
    answer = signed_in(mixed).post("/history/acknowledge", {"task": [mine.pk, other.pk]})
    assert answer.status_code == 403 and other.source.name in answer.text
    assert Task.objects.unacknowledged_failures().count() == 2


def test_strangers_tasks_and_nonsense_are_not_acknowledged() -> None:
    mine, other = make_task(state="failed"), make_task(state="failed")
    client = signed_in(make_user(Role.OPERATOR, source=mine.source))
    client.post("/history/acknowledge", {"task": [other.pk, "x", "9" * 30, "²"], "query": "//evil.example"})
    assert Task.objects.unacknowledged_failures().count() == 2
    answer = client.post("/history/acknowledge", {"query": "//evil.example"}, follow=True)
    assert "Tick the failures" in answer.text
    assert answer.redirect_chain[0][0] == "/history/"


def test_member_of_a_team_finds_the_tasks_of_their_team() -> None:
    person = make_user()
    team = make_team(person)
    source = make_generation_source()
    row = make_generation(source, team=team, actor=make_user())
    make_task()
    answer = signed_in(person).get("/history/")
    assert shown(answer) == [row.task_id]
