"""Which tasks have certain words in their text: newest first, in pages, with the same answer from both databases."""

import re
from dataclasses import dataclass

from django.db import connection, transaction

from tasks_app.models.search_sql import FTS, TEXT

SHORTEST = 3
"""Characters of a word that can be looked up; both indexes are made of trigrams."""
MOST_TERMS = 8
MOST_TRIGRAMS = 12
"""Trigrams of one word that are looked up; the text itself decides."""
RARE = 5000
"""PostgreSQL: up to so many matches are all read and sorted; of more common words the texts are read newest first."""

LAST_KEY = 2**63 - 1
_LETTERS = str.maketrans("0123456789", "qjxzvwkygh")
_TERMS = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Match:
    """`key` is the place in the order (see TaskText.key_of)."""

    key: int
    task_id: int


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
    assert is_searchable(terms)
    between = (max(0, lowest or 0), LAST_KEY if below is None else max(0, min(below - 1, LAST_KEY)))
    if connection.vendor == "sqlite":
        return _find_on_sqlite(terms, between, limit)
    return _find_on_postgresql(terms, between, limit)


def _find_on_sqlite(terms: tuple[str, ...], between: tuple[int, int], limit: int) -> list[Match]:
    trigrams = " AND ".join(f'"{_quote(trigram)}"' for trigram in _trigrams(terms))
    contains = " AND ".join("instr(t.text, %s) > 0" for _ in terms)
    sql = (
        f"SELECT t.key, t.task_id FROM {FTS} f JOIN {TEXT} t ON t.key = f.rowid "
        f"WHERE {FTS} MATCH %s AND f.rowid BETWEEN %s AND %s AND {contains} ORDER BY f.rowid DESC LIMIT %s"
    )
    values: list[str | int] = [trigrams, *between, *terms, limit]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [Match(*row) for row in cursor.fetchall()]


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


def _find_on_postgresql(terms: tuple[str, ...], between: tuple[int, int], limit: int) -> list[Match]:
    """The planner cannot know how rare a word is and is wrong by seconds: so each way is prescribed.

    First by the index without an order, up to RARE matches. A word with more of them is common, and the newest texts
    that have it are found by reading newest first.
    """
    contains = " AND ".join("text LIKE %s" for _ in terms)
    patterns = [f"%{_escape(term)}%" for term in terms]
    bound = "AND key BETWEEN %s AND %s"
    values: list[str | int] = [*patterns, *between]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        sql = f"SELECT key, task_id FROM {TEXT} WHERE {contains} {bound} LIMIT %s"
        cursor.execute(sql, [*values, RARE + 1])
        rows = cursor.fetchall()
        if len(rows) > RARE:
            cursor.execute("SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off")
            sql = f"SELECT key, task_id FROM {TEXT} WHERE {contains} {bound} ORDER BY key DESC LIMIT %s"
            cursor.execute(sql, [*values, limit])
            rows = cursor.fetchall()
    return [Match(*row) for row in sorted(rows, reverse=True)[:limit]]


def _escape(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
