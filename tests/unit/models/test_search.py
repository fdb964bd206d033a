"""Searching texts: parts of words, in quotes, odd characters, pages; the same answer on both databases."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from tasks_app.ingest.logs import store_final_log
from tasks_app.ingest.texts import LOG_CHARACTERS, index_batch
from tasks_app.models import LogChunk, Task, TaskText, search
from tasks_app.models.search import find_matches, is_searchable, parse_terms
from tasks_app.sources.base import RemoteLogLine
from tests.factories import make_source, make_task

START = datetime(2026, 1, 1, tzinfo=UTC)


def index_all() -> int:
    count = 0
    while step := index_batch():
        count += step
    return count


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("Clone WEB-07", ("clone", "web-07")),
        ('"no space left" error', ("no space left", "error")),
        ('"unclosed', ('"unclosed',)),
        ('""', ()),
        ("a\0b", ("ab",)),
        ("x x x", ("x",)),
    ],
    ids=["empty", "blank", "words", "quotes", "unclosed", "nothing quoted", "nul", "repeated"],
)
def test_terms(text, terms):
    assert parse_terms(text) == terms


def test_two_characters_alone_are_not_looked_up():
    assert not is_searchable(("vm",))
    assert is_searchable(("vm", "web"))


TEXTS = [
    "clone tpl-ubuntu24 (9000) → web-07 (207)",
    "guest-1.example.com start",
    "100% done_or not \\ quoted \"word\" 'x'",
    "übergröße straße 東京都 🙂🙂🙂",
    "error: no space left on device",
    "aaaaaaaaaaaaaaaaaaaaaaaaab",
]


@pytest.mark.django_db
@pytest.mark.parametrize("query", [
    "web-07", "EB-0", "guest-1.example.com", "example", "100%", "done_or", "doneXor", "\\", " \\ quoted",
    '"word"', "'x'", "größe", "STRASSE", "straße", "東京都", "🙂🙂🙂", '"no space left"', "space device",
    "aaab", "aaaa", "baaa", "(207)", "→ web", "clone start", "%%%", "___",
], ids=str)  # fmt: skip
def test_what_is_contained_is_found_and_nothing_else(query):
    source = make_source()
    for number, text in enumerate(TEXTS):
        make_task(source, search_text=text.lower(), started_at=START + timedelta(hours=number))
    index_all()
    terms = parse_terms(query)
    if not is_searchable(terms):
        assert len(query.strip()) < search.SHORTEST or " " in query
        return
    wanted = [t.pk for t in Task.objects.order_by("-started_at") if all(x in t.search_text for x in terms)]
    assert [match.task_id for match in find_matches(terms, below=None, limit=50).matches] == wanted


@pytest.fixture(
    params=[(200, 200, 5000), (4, 10, 5000), (4, 10, 1), (1, 1, 1)],
    ids=["walk", "walk and rest", "more common once", "short walks"],
)
def way(request, monkeypatch):
    """PostgreSQL: stretches of time that are walked through first and then, and how many matches are too many."""
    for name, value in zip(("_STRETCHES", "_FURTHER", "RARE"), request.param, strict=True):
        monkeypatch.setattr(search, name, value)


def make_many(days=300, count=60):
    """The tasks with "backup", newest first, by their keys."""
    chance, source = random.Random(7), make_source()
    for _ in range(count):
        words = "backup of web" if chance.random() < 0.5 else "start of db"
        make_task(source, search_text=words, started_at=START + timedelta(days=chance.randrange(days)))
    index_all()
    wanted = Task.objects.filter(search_text__contains="backup").order_by("-started_at", "-pk")
    return list(wanted.values_list("pk", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("days", [1, 300])
def test_pages_by_key_have_no_gap_and_nothing_twice(way, days):
    wanted = make_many(days)
    seen: list[int] = []
    below = None
    for _ in range(200):
        found = find_matches(("backup",), below=below, limit=7)
        assert [match.key for match in found.matches] == sorted((m.key for m in found.matches), reverse=True)
        assert all(match.key >= (found.looked_to or 0) for match in found.matches)
        assert found.looked_to is None or below is None or found.looked_to < below
        seen += [match.task_id for match in found.matches]
        below = found.looked_to
        if below is None:
            break
    assert seen == wanted


@pytest.mark.django_db
def test_nothing_outside_the_keys_that_are_asked_for_is_found(way):
    make_many()
    keys = []
    below = None
    while True:
        found = find_matches(("backup",), below=below, limit=100)
        keys += [match.key for match in found.matches]
        below = found.looked_to
        if below is None:
            break
    between: list[int] = []
    below = keys[3]
    while below is not None:
        found = find_matches(("backup",), below=below, limit=100, lowest=keys[9])
        between += [match.key for match in found.matches]
        below = found.looked_to
    assert between == keys[4:10]


@pytest.mark.django_db
def test_words_of_the_log_are_found_long_after():
    task = make_task(state="completed", search_text="start of 100")
    index_all()
    store_final_log(
        task,
        [RemoteLogLine(1, "mount: Wrong FS type"), RemoteLogLine(2, "TASK OK")],
        complete=True,
        at=task.started_at,
        sleep=lambda _: None,
    )
    assert index_all() == 1
    assert [m.task_id for m in find_matches(("wrong fs",), below=None, limit=5).matches] == [task.pk]


@pytest.mark.django_db
def test_of_a_long_log_beginning_and_end_are_searched():
    task = make_task(state="completed", search_text="backup")
    lines = [RemoteLogLine(n, f"line {n} of a long log") for n in range(1, LogChunk.LINES * 5)]
    store_final_log(task, lines, complete=True, at=task.started_at, sleep=lambda _: None)
    index_all()
    text = TaskText.objects.get(task=task)
    assert text.is_cut
    assert text.log_characters <= LOG_CHARACTERS + 1
    last = LogChunk.LINES * 5 - 1
    for term, is_there in ((f"line {last} of", True), ("line 1 of", True), ("line 2500 of", False)):
        assert bool(find_matches((term,), below=None, limit=5).matches) is is_there


@pytest.mark.django_db
def test_a_changed_task_is_due_again_and_found_by_its_new_words():
    task = make_task(search_text="one thing")
    index_all()
    Task.objects.filter(pk=task.pk).update(percent=50)
    assert index_all() == 0
    Task.objects.filter(pk=task.pk).update(search_text="another word")
    assert index_all() == 1
    assert find_matches(("one thing",), below=None, limit=5).matches == []
    assert [m.task_id for m in find_matches(("another",), below=None, limit=5).matches] == [task.pk]


@pytest.mark.django_db
def test_indexing_again_changes_nothing():
    make_task(search_text="abc")
    assert index_all() == 1
    Task.objects.update(is_indexed=False)
    assert index_all() == 1
    assert TaskText.objects.count() == 1
