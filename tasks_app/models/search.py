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

_STRETCHES, _FURTHER = 20, 120
"""PostgreSQL: so many stretches of time (3 days each) are walked through first, and so many more for a word that has
been common once."""
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

    First the index is asked for one short stretch of time after the other, newest first, until there are enough: a
    common word is found at once. What is left then is so rare that all its matches can be taken, in any order.
    """
    texts = _Texts(" AND ".join("text LIKE %s" for _ in terms), [f"%{_escape(term)}%" for term in terms])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_PRESCRIBED)
        cursor.execute(f"SELECT min(key), max(key) FROM {TEXT} WHERE key BETWEEN %s AND %s", between)
        lowest, highest = cursor.fetchone()
        if highest is None:
            return Found([], None)
        cursor.execute("SET LOCAL enable_indexscan = off")
        found, reached = texts.walk(cursor, (lowest, highest), _STRETCHES, limit)
        if len(found) < limit and reached > lowest:
            rest = texts.take(cursor, (lowest, reached - 1))
            if len(rest) <= RARE:
                found, reached = [*found, *rest], lowest
            else:  # it has been more common once
                more, reached = texts.walk(cursor, (lowest, reached - 1), _FURTHER, limit - len(found))
                found += more
    if len(found) >= limit:
        return Found(found[:limit], found[limit - 1].key)
    return Found(found, reached if reached > lowest else None)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Ways to ask PostgreSQL's index; `contains` is the condition, `patterns` its values."""

    contains: str
    patterns: Sequence[str]

    def walk(
        self, cursor: CursorWrapper, between: tuple[int, int], stretches: int, limit: int
    ) -> tuple[list[Match], int]:
        """The newest `limit` matches of so many stretches of time, and the lowest key of these."""
        last = between[1] >> STRETCH_BITS
        first = max(between[0] >> STRETCH_BITS, last - stretches + 1)
        # OFFSET 0: each stretch is sorted by itself, and the next is looked at only when there are not enough.
        sql = f"""SELECT m.key, m.task_id FROM generate_series(%s::bigint, %s::bigint, -1) stretch,
            LATERAL (SELECT key, task_id FROM {TEXT} WHERE (key >> {STRETCH_BITS}) = stretch AND {self.contains}
                AND key + 0 BETWEEN %s AND %s ORDER BY key DESC OFFSET 0) m LIMIT %s"""
        cursor.execute(sql, [last, first, *self.patterns, *between, limit])
        return [Match(*row) for row in cursor.fetchall()], max(between[0], first << STRETCH_BITS)

    def take(self, cursor: CursorWrapper, between: tuple[int, int]) -> list[Match]:
        """All matches, but at most RARE + 1, which are then any."""
        # "+ 0": the index over keys is not wanted here.
        sql = f"SELECT key, task_id FROM {TEXT} WHERE {self.contains} AND key + 0 BETWEEN %s AND %s LIMIT %s"
        cursor.execute(sql, [*self.patterns, *between, RARE + 1])
        return sorted((Match(*row) for row in cursor.fetchall()), reverse=True)


def _escape(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
