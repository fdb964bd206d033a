"""Which tasks have certain words in their text: newest first, in pages, with the same answer from both databases."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from tasks_app.models.search_sql import FTS, STRETCH_BITS, TEXT

SHORTEST = 3
"""Characters of a word that can be looked up; both indexes are made of trigrams."""
MOST_TERMS = 8
MOST_TRIGRAMS = 12
"""Trigrams of one word that are looked up; the text itself decides."""
RARE = 5000
"""PostgreSQL: so many matches are taken from the index at most, because it does not know their order."""

_WINDOW = 2000
"""PostgreSQL: so many texts are read first, newest first; about 3 ms."""
_STRETCHES = (4, 16)
"""PostgreSQL: so many stretches of time (3 days each) the index is then asked for, and then for so many."""
_PRESCRIBED = (
    "SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off"
)
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
) -> Found:
    """Up to `limit` matches with a key below `below` and not under `lowest`. `terms` must be searchable.

    The work is bounded: there can be fewer than `limit` although there are more below `looked_to`.
    """
    assert is_searchable(terms)
    between = (max(0, lowest or 0), LAST_KEY if below is None else max(0, min(below - 1, LAST_KEY)))
    if connection.vendor == "sqlite":
        return _find_on_sqlite(terms, between, limit)
    return _find_on_postgresql(terms, between, limit)


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


def _find_on_postgresql(terms: tuple[str, ...], between: tuple[int, int], limit: int) -> Found:
    """The planner cannot know how rare a word is and is wrong by seconds: so each way is prescribed.

    First the newest texts are read, which suffices for a common word. Then the index is asked, which knows no order:
    for the last days, for the last weeks, then for all that is left. So a common word costs little because it is
    found soon, and a rare one because its matches are few.
    """
    texts = _Texts(" AND ".join("text LIKE %s" for _ in terms), [f"%{_escape(term)}%" for term in terms])
    lowest = between[0]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_PRESCRIBED)
        found, reached = texts.read_newest(cursor, between, _WINDOW)
        for stretches in _STRETCHES:
            if len(found) < limit and reached is not None:
                low = max(lowest, ((reached >> STRETCH_BITS) - stretches) << STRETCH_BITS)
                found += texts.find_in(cursor, (low, reached - 1), limit - len(found))
                reached = low if low > lowest else None
        if len(found) < limit and reached is not None:
            rest = texts.look_up(cursor, (lowest, reached - 1), is_all=True)
            if len(rest) <= RARE:
                found, reached = [*found, *rest], None
    if len(found) >= limit:
        return Found(found[:limit], found[limit - 1].key)
    return Found(found, reached)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Ways to read texts on PostgreSQL; `contains` is the condition, `patterns` its values."""

    contains: str
    patterns: Sequence[str]

    def read_newest(
        self, cursor: CursorWrapper, between: tuple[int, int], rows: int
    ) -> tuple[list[Match], int | None]:
        """Matches among the newest `rows` texts, and the key of the last of these; None if they are all."""
        sql = f"""SELECT count(*), min(key), array_agg(key) FILTER (WHERE hit), array_agg(task_id) FILTER (WHERE hit)
            FROM (SELECT key, task_id, {self.contains} AS hit FROM {TEXT}
                WHERE key BETWEEN %s AND %s ORDER BY key DESC LIMIT %s) newest"""
        cursor.execute(sql, [*self.patterns, *between, rows])
        seen, last, keys, tasks = cursor.fetchone()
        found = sorted((Match(*pair) for pair in zip(keys or [], tasks or [], strict=True)), reverse=True)
        return found, last if seen == rows else None

    def find_in(self, cursor: CursorWrapper, between: tuple[int, int], limit: int) -> list[Match]:
        """Matches in a stretch of time: all, or the newest `limit` where there are very many."""
        found = self.look_up(cursor, between, is_all=False)
        return found if len(found) <= RARE else self.read_on(cursor, between, limit)

    def look_up(self, cursor: CursorWrapper, between: tuple[int, int], *, is_all: bool) -> list[Match]:
        """Matches by the index, but at most RARE + 1, which are then any. `is_all`: the stretch is no restriction."""
        # "+ 0": the index over keys is not wanted here.
        sql = f"SELECT key, task_id FROM {TEXT} WHERE {self.contains} AND key + 0 BETWEEN %s AND %s"
        values: list[str | int] = [*self.patterns, *between]
        if not is_all:
            sql += f" AND (key >> {STRETCH_BITS}) BETWEEN %s AND %s"
            values += [key >> STRETCH_BITS for key in between]
        cursor.execute("SET LOCAL enable_indexscan = off")
        cursor.execute(f"{sql} LIMIT %s", [*values, RARE + 1])
        found = [Match(*row) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_indexscan = on")
        return sorted(found, reverse=True)

    def read_on(self, cursor: CursorWrapper, between: tuple[int, int], limit: int) -> list[Match]:
        """The newest matches by reading texts, where they are many."""
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        sql = (
            f"SELECT key, task_id FROM {TEXT} WHERE {self.contains} AND key BETWEEN %s AND %s "
            "ORDER BY key DESC LIMIT %s"
        )
        cursor.execute(sql, [*self.patterns, *between, limit])
        found = [Match(*row) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_bitmapscan = on")
        return found


def _escape(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
