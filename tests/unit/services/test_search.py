"""Pages of a search: visibility and filters, far back in bounded work, tasks that are not indexed yet."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Q

from tasks_app.ingest.texts import index_batch
from tasks_app.models import Role, Task
from tasks_app.services import search
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import find_task, history_page, newest_matches, parse_below
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(source, number, words, **fields):
    fields.setdefault("state", "completed")
    return make_task(source, search_text=words, started_at=START + timedelta(minutes=number), **fields)


def index_all():
    while index_batch():
        pass


def found(filters, *, below=None, size=50, tasks=None):
    return history_page(Task.objects.all() if tasks is None else tasks, filters, below=below, size=size)


def walk(filters, size):
    """All pages."""
    pages, below = [], None
    while True:
        page = found(filters, below=below, size=size)
        pages.append(page)
        below = page.next_below
        if below is None:
            return pages


@pytest.mark.parametrize("text", ["", "backup"], ids=["all", "text"])
@pytest.mark.parametrize("is_indexed", [True, False], ids=["indexed", "waiting"])
def test_pages_have_no_gap_and_nothing_twice(text, is_indexed):
    source = make_source()
    for number in range(23):
        make(source, number // 3, "backup of web" if number % 4 else "backup of db")
    if is_indexed:
        index_all()
    pages = walk(HistoryFilters(text=text), size=5)
    wanted = list(Task.objects.order_by("-started_at", "-pk"))
    assert [task for page in pages for task in page.tasks] == wanted
    assert [len(page.tasks) for page in pages] == [5, 5, 5, 5, 3]


def test_pages_of_a_guest_have_what_it_did_and_how_it_came_to_be_in_one_order():
    source, chance = make_source(), random.Random(2)
    for _ in range(23):
        ours = chance.choice(
            [{"object_id": "303"}, {"new_vmid": 303}, {"object_id": "303", "new_vmid": 303}, {}]
        )
        make(source, chance.randrange(9), "x", **ours)
    pages = walk(HistoryFilters(vmid=303), size=4)
    wanted = Task.objects.filter(Q(vmid=303) | Q(new_vmid=303)).order_by("-started_at", "-pk")
    assert [task for page in pages for task in page.tasks] == list(wanted)
    assert all(len(page.tasks) == 4 for page in pages[:-1])


def test_only_what_a_person_sees_is_found():
    mine, other = make_source(), make_source()
    task = make(mine, 1, "backup of web")
    make(other, 2, "backup of web")
    index_all()
    person = make_user(Role.VIEWER, source=mine)
    page = found(HistoryFilters(text="backup"), tasks=Task.objects.visible_to(person))
    assert page.tasks == [task]


def test_few_tasks_that_pass_the_filters_are_found_however_common_the_word(monkeypatch):
    monkeypatch.setattr(search, "BATCHES", (3, 3))
    source = make_source()
    rare = make(source, 0, "backup of web", type="qmclone")
    for number in range(1, 30):
        make(source, number, "backup of web", type="vzdump")
    index_all()
    page = found(HistoryFilters(text="backup", type="qmclone"))
    assert (page.tasks, page.next_below, page.searched_to) == ([rare], None, None)


def test_a_page_says_how_far_back_was_looked_and_the_next_goes_on_there(monkeypatch):
    monkeypatch.setattr(search, "BATCHES", (3, 3))
    monkeypatch.setattr(search, "SELECTED", 4)
    source = make_source()
    hit = make(source, 0, "backup of web", node="pve2")
    for number in range(1, 30):
        make(source, number, "backup of web", node="pve1")
        make(source, number, "start of db", node="pve2")
    index_all()
    pages = walk(HistoryFilters(text="backup", node="pve2"), size=5)
    assert [task for page in pages for task in page.tasks] == [hit]
    times = [page.searched_to for page in pages]
    assert len(pages) > 2
    assert None not in times[:-1]
    assert times[:-1] == sorted(times[:-1], reverse=True)
    assert times[-1] is None
    assert times[0] < START + timedelta(minutes=27)


def test_a_search_in_a_stretch_of_time_looks_nowhere_else(monkeypatch):
    monkeypatch.setattr(search, "BATCHES", (2,))
    source = make_source()
    tasks = [make(source, number, "backup of web") for number in range(20)]
    index_all()
    filters = HistoryFilters(text="backup", since=tasks[3].started_at, until=tasks[5].started_at)
    assert found(filters, size=5).tasks == [tasks[4], tasks[3]]


def test_a_number_is_a_vmid_or_part_of_a_name_and_nothing_else():
    source = make_source()
    own = make(source, 1, "start of 303", object_id="303", object_name="db")
    clone = make(source, 2, "clone", object_id="9000", object_name="tpl", new_vmid=303)
    named = make(source, 3, "start of web", object_id="107", object_name="web-3031")
    make(source, 4, "upid:pve1:0000303a: and 303 lines", object_id="108", object_name="web-1")
    waiting = make(source, 5, "x", object_id="109", object_name="web-303")
    index_all()
    Task.objects.filter(pk=waiting.pk).update(is_indexed=False)
    assert found(HistoryFilters(text=" 303 ")).tasks == [waiting, named, clone, own]
    assert found(HistoryFilters(vmid=303)).tasks == [clone, own]


@pytest.mark.parametrize(("text", "is_too_short"), [("30", True), ("vm", True), ("303", False), ("vm of", True),
    ("vm web", False), ("", False)])  # fmt: skip
def test_three_characters_are_needed(text, is_too_short):
    make(make_source(), 1, "vm of web 303")
    filters = HistoryFilters(text=text)
    assert filters.is_too_short is is_too_short
    if is_too_short:
        assert found(filters).tasks == []


def test_a_user_is_a_part_of_a_name_or_a_whole_name_with_its_token():
    source = make_source()
    alice = make(source, 1, "start alice@pve", remote_user="alice@pve")
    token = make(source, 2, "start alice@pve!web", remote_user="alice@pve", remote_token="web", person="Bob")
    index_all()
    assert found(HistoryFilters(user="ALICE")).tasks == [token, alice]
    assert found(HistoryFilters(user="alice@pve")).tasks == [token, alice]
    assert found(HistoryFilters(user="alice@pve!web")).tasks == [token]
    assert found(HistoryFilters(user="lice@pve")).tasks == []
    assert found(HistoryFilters(user="bob")).tasks == [token]
    assert found(HistoryFilters(person="Bob")).tasks == [token]
    assert found(HistoryFilters(person="unknown")).tasks == [alice]


def test_a_pasted_upid_opens_its_task_also_out_of_a_sentence():
    source = make_source()
    task, user = make_task(source), make_user(Role.VIEWER, source=source)
    for text in (
        task.remote_id,
        f"  see {task.remote_id} please",
        f'"{task.remote_id}"',
        task.remote_id[:-1],
        task.api_id,
    ):
        assert find_task(user, text) == task
    assert find_task(make_user(), task.remote_id) is None
    assert find_task(user, "UPID:nothing") is None
    assert find_task(user, "web-01") is None
    assert found(HistoryFilters(text=task.remote_id)).tasks == [task]


def test_a_upid_of_two_clusters_opens_neither():
    task = make_task()
    make_task(remote_id=task.remote_id)
    assert find_task(make_user(Role.VIEWER), task.remote_id) is None
    assert len(found(HistoryFilters(text=task.remote_id)).tasks) == 2


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 50, "1.5", "²"])
def test_a_cursor_that_is_not_ours_is_none(text):
    assert parse_below(text) is None


@pytest.mark.parametrize("below", [0, 1, 2**63, 2**80, 10**39])
@pytest.mark.parametrize("text", ["", "backup"])
def test_any_number_as_a_cursor_is_harmless(below, text):
    make(make_source(), 1, "backup")
    assert len(found(HistoryFilters(text=text), below=below).tasks) <= 1


def test_newest_matches_say_how_far_back_they_reach():
    source = make_source()
    tasks = [make(source, number, "backup") for number in range(5)]
    index_all()
    assert newest_matches(("backup",), most=2) == ([tasks[4].pk, tasks[3].pk], tasks[3].started_at)
    assert newest_matches(("backup",), most=9) == ([task.pk for task in reversed(tasks)], None)
    assert newest_matches(("ba",), most=9) == ([], None)


def test_work_of_one_page_is_bounded(django_assert_max_num_queries):
    source = make_source()
    for number in range(30):
        make(source, number, "backup of web")
    index_all()
    with django_assert_max_num_queries(12):
        found(HistoryFilters(text="backup", type="qmclone"))
