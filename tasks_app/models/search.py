"""Which tasks have certain words in their text: newest first, in pages, with the same answer from both databases."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from tasks_app.models.search_sql import FTS, TEXT

SHORTEST = 3
"""Characters of a word that can be looked up; both indexes are made of trigrams."""
MOST_TERMS = 8
MOST_TRIGRAMS = 12
"""Trigrams of one word that are looked up; the text itself decides."""
RARE = 5000
"""PostgreSQL: up to so many matches are taken from the index, which does not know their order."""

_WINDOW = 2000
"""PostgreSQL: so many texts are read first, newest first; about 3 ms."""
_FETCHED = 10
"""PostgreSQL: a match that the index names costs about as much as reading so many texts in a row."""

LAST_KEY = 2**63 - 1
_LETTERS = str.maketrans("0123456789", "qjxzvwkygh")
_TERMS = re.compile(r'"([^"]*)"|(\S+)')


class Match(NamedTuple):
    """`key` is the place in the order (see TaskText.key_of)."""

    key: int
    task_id: int


class Found(NamedTuple):
    """Matches, highest key first. `looked_to`: there may be more below this key; None when these are all."""

    matches: list[Match]
    looked_to: int | None


def parse_terms(text: str) -> tuple[str, ...]:
    """The words of a search in lower case; what stands in quotes is one of them. All of them must be contained."""
    found = (quoted or word for quoted, word in _TERMS.findall(text.lower().replace("\0", "")))
    return tuple(dict.fromkeys(term.strip() for term in found if term.strip()))[:MOST_TERMS]


def digits_term(number: str) -> str:
    """The word under which a text holds `number` as digits of a guest's name or VMID; see `ingest/texts.py`.

    Each digit is a letter, of ten that hardly ever stand together, so that a number alone is not looked for in UPIDs
    and logs, which are full of other numbers. ASCII, because trigrams on PostgreSQL are made of what its locale
    calls letters.
    """
    return number.translate(_LETTERS)


def is_searchable(terms: tuple[str, ...]) -> bool:
    """Whether one of the words is long enough for the index."""
    return any(len(term) >= SHORTEST for term in terms)


def find_matches(
    terms: tuple[str, ...], *, below: int | None, limit: int, lowest: int | None = None
) -> list[Match]:
    """At most `limit` matches with a key below `below` and not under `lowest`, highest key first.

    `terms` must be searchable.
    """
    return _find(terms, below, limit, lowest, None).matches


def look_back(
    terms: tuple[str, ...], *, below: int | None, limit: int, lowest: int | None = None, rows: int
) -> Found:
    """The same, in work that is bounded even where matches are few: about `rows` texts are read."""
    return _find(terms, below, limit, lowest, rows)


def _find(
    terms: tuple[str, ...], below: int | None, limit: int, lowest: int | None, rows: int | None
) -> Found:
    assert is_searchable(terms)
    between = (max(0, lowest or 0), LAST_KEY if below is None else max(0, min(below - 1, LAST_KEY)))
    if connection.vendor == "sqlite":
        return _find_on_sqlite(terms, between, limit)
    return _find_on_postgresql(terms, between, limit, rows)


def _find_on_sqlite(terms: tuple[str, ...], between: tuple[int, int], limit: int) -> Found:
    """The index has the matches newest first, whether they are many or few."""
    trigrams = " AND ".join(f'"{_quote(trigram)}"' for trigram in _trigrams(terms))
    contains = " AND ".join("instr(t.text, %s) > 0" for _ in terms)
    sql = (
        f"SELECT t.key, t.task_id FROM {FTS} f JOIN {TEXT} t ON t.key = f.rowid "
        f"WHERE {FTS} MATCH %s AND f.rowid BETWEEN %s AND %s AND {contains} ORDER BY f.rowid DESC LIMIT %s"
    )
    values: list[str | int] = [trigrams, *between, *terms, limit]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        matches = [Match(*row) for row in cursor.fetchall()]
    return Found(matches, matches[-1].key if len(matches) == limit else None)


def _quote(trigram: str) -> str:
    return trigram.replace('"', '""')


def _trigrams(terms: tuple[str, ...]) -> list[str]:
    """Evenly from each word, at most MOST_TRIGRAMS in all."""
    chosen: list[str] = []
    long_enough = [term for term in terms if len(term) >= SHORTEST]
    for term in long_enough:
        every = [term[i : i + SHORTEST] for i in range(len(term) - SHORTEST + 1)]
        share = max(1, MOST_TRIGRAMS // len(long_enough))
        step = max(1, -(-len(every) // share))
        chosen += [*every[::step], every[-1]]
    return list(dict.fromkeys(chosen))


def _find_on_postgresql(
    terms: tuple[str, ...], between: tuple[int, int], limit: int, rows: int | None
) -> Found:
    """The planner cannot know how rare a word is and is wrong by seconds: so each way is prescribed.

    First the newest texts are read, which suffices for a common word and tells how common it is. What is missing comes
    from the index, which gives all matches without an order, or from reading on: whichever costs less.
    """
    contains = " AND ".join("text LIKE %s" for _ in terms)
    texts = _Texts(contains, [f"%{_escape(term)}%" for term in terms])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        found, seen, reached = texts.read_newest(cursor, between, min(_WINDOW, rows or _WINDOW))
        if len(found) >= limit:
            return Found(found[:limit], found[limit - 1].key)
        if reached is None:
            return Found(found, None)
        share = max(len(found), 0.5) / seen
        to_read = (limit - len(found)) / share if rows is None else rows - seen
        below = (between[0], reached - 1)
        if _count_texts(cursor) * share * _FETCHED <= to_read:
            more = texts.look_up(cursor, below)
            if len(more) <= RARE:
                matches = [*found, *more][:limit]
                return Found(matches, matches[-1].key if len(matches) == limit else None)
        if rows is None:
            matches = [*found, *texts.read_on(cursor, below, limit - len(found))]
            return Found(matches, matches[-1].key if len(matches) == limit else None)
        more, _, reached = texts.read_newest(cursor, below, max(1, rows - seen))
        matches = [*found, *more][:limit]
        return Found(matches, matches[-1].key if len(matches) == limit else reached)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Ways to read texts on PostgreSQL; `contains` is the condition, `patterns` its values."""

    contains: str
    patterns: Sequence[str]

    def read_newest(
        self, cursor: CursorWrapper, between: tuple[int, int], rows: int
    ) -> tuple[list[Match], int, int | None]:
        """Matches among the newest `rows` texts, how many there were, and the key of the last; None if that is all."""
        sql = f"""SELECT count(*), min(key), array_agg(key) FILTER (WHERE hit), array_agg(task_id) FILTER (WHERE hit)
            FROM (SELECT key, task_id, {self.contains} AS hit FROM {TEXT}
                WHERE key BETWEEN %s AND %s ORDER BY key DESC LIMIT %s) newest"""
        cursor.execute(sql, [*self.patterns, *between, rows])
        seen, last, keys, tasks = cursor.fetchone()
        found = sorted((Match(*pair) for pair in zip(keys or [], tasks or [], strict=True)), reverse=True)
        return found, seen, last if seen == rows else None

    def look_up(self, cursor: CursorWrapper, between: tuple[int, int]) -> list[Match]:
        """All matches by the index, but at most RARE + 1 in no order."""
        cursor.execute("SET LOCAL enable_indexscan = off")
        sql = f"SELECT key, task_id FROM {TEXT} WHERE {self.contains} AND key BETWEEN %s AND %s LIMIT %s"
        cursor.execute(sql, [*self.patterns, *between, RARE + 1])
        found = [Match(*row) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_indexscan = on")
        return sorted(found, reverse=True)

    def read_on(self, cursor: CursorWrapper, between: tuple[int, int], limit: int) -> list[Match]:
        """The newest matches by reading texts, however far that is."""
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        sql = (
            f"SELECT key, task_id FROM {TEXT} WHERE {self.contains} AND key BETWEEN %s AND %s "
            "ORDER BY key DESC LIMIT %s"
        )
        cursor.execute(sql, [*self.patterns, *between, limit])
        return [Match(*row) for row in cursor.fetchall()]


def _count_texts(cursor: CursorWrapper) -> int:
    """About how many there are, as the last ANALYZE saw it."""
    cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [TEXT])
    return max(_WINDOW, int(cursor.fetchone()[0]))


def _escape(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
