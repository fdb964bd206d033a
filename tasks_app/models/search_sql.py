"""What Django's migrations cannot say on both databases: the index over task texts, and the triggers of the tallies.

SQLite: an FTS5 table with the trigram tokenizer over `TaskText`, kept by triggers, its rowid is `TaskText.key`. Without
positions (detail=none), which makes it a third of the size; a match is checked against the text itself.
PostgreSQL: a GIN index of stretches of time (btree_gin) and trigrams (pg_trgm), so that it can be asked for the newest
matches of a word that has very many.

Whoever changes the words of a task or stores its log makes it due for indexing, also by a trigger: nobody can forget.
All triggers about tasks are put in place here, after each migration, also those of `models/team_sql.py`.
"""

from collections.abc import Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration

from tasks_app.models import team_sql

TEXT, TASK, LOG = "tasks_app_tasktext", "tasks_app_task", "tasks_app_tasklog"
TALLY, ROLLUP = "tasks_app_tasktally", "tasks_app_taskrollup"
FTS = "tasks_app_tasktext_fts"
PG_INDEX = "tasktext_stretches_trigrams"
STRETCH_BITS = 40
"""The bits of a key above these are a stretch of time of 3 days."""

_GROUP = "day, source_id, node, type, outcome"
_ROLLUP_GROUP = f"grain, {_GROUP}"
_OUTCOME = "CASE WHEN {row}.state = 'completed' AND {row}.warnings > 0 THEN 'warnings' ELSE {row}.state END"
_COUNTED_COLUMNS = "state, warnings, type, node, source_id, started_at"
"""What a row is counted by; a change of any of these moves it."""


def _counted(row: str) -> str:
    return ", ".join(f"{row}.{column.strip()}" for column in _COUNTED_COLUMNS.split(","))


_SQLITE_DAY = "date({row}.started_at)"
# Grain → its first day, and the node that is kept; see TaskRollup.Grain.
_SQLITE_GRAINS = {
    "w": ("date({day}, 'weekday 0', '-6 days')", "{node}"),
    "m": ("date({day}, 'start of month')", "{node}"),
    "y": ("date({day}, 'start of year')", "{node}"),
    "D": ("date({day})", "''"),
    "W": ("date({day}, 'weekday 0', '-6 days')", "''"),
    "M": ("date({day}, 'start of month')", "''"),
}


def _sqlite_values(row: str) -> str:
    day, outcome = _SQLITE_DAY.format(row=row), _OUTCOME.format(row=row)
    return f"{day}, {row}.source_id, {row}.node, {row}.type, {outcome}"


def _sqlite_rollups(row: str) -> list[str]:
    """The values of _ROLLUP_GROUP, one for each grain."""
    return [
        f"'{grain}', {first.format(day=f'{row}.started_at')}, {row}.source_id, {node.format(node=f'{row}.node')}, "
        f"{row}.type, {_OUTCOME.format(row=row)}"
        for grain, (first, node) in _SQLITE_GRAINS.items()
    ]


def _sqlite_add(row: str) -> str:
    rollups = ", ".join(f"({values}, 1)" for values in _sqlite_rollups(row))
    return (
        f"INSERT INTO {TALLY} ({_GROUP}, count) VALUES ({_sqlite_values(row)}, 1) "
        f"ON CONFLICT ({_GROUP}) DO UPDATE SET count = count + 1; "
        f"INSERT INTO {ROLLUP} ({_ROLLUP_GROUP}, count) VALUES {rollups} "
        f"ON CONFLICT ({_ROLLUP_GROUP}) DO UPDATE SET count = count + 1;"
    )


def _sqlite_take(row: str) -> str:
    # No insert: with a source its tally goes first, then its tasks.
    rollups = ", ".join(f"({values})" for values in _sqlite_rollups(row))
    return (
        f"UPDATE {TALLY} SET count = count - 1 WHERE ({_GROUP}) = ({_sqlite_values(row)}); "
        f"UPDATE {ROLLUP} SET count = count - 1 WHERE ({_ROLLUP_GROUP}) IN (VALUES {rollups});"
    )


_SQLITE_FTS = (
    f"""CREATE VIRTUAL TABLE {FTS} USING fts5(
        text, content='{TEXT}', content_rowid='key', tokenize='trigram case_sensitive 1', detail='none')""",
    f"INSERT INTO {FTS}({FTS}) VALUES ('rebuild')",
)
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER tasktext_insert AFTER INSERT ON {TEXT} BEGIN
        INSERT INTO {FTS}(rowid, text) VALUES (NEW.key, NEW.text); END""",
    f"""CREATE TRIGGER tasktext_delete AFTER DELETE ON {TEXT} BEGIN
        INSERT INTO {FTS}({FTS}, rowid, text) VALUES ('delete', OLD.key, OLD.text); END""",
    f"""CREATE TRIGGER tasktext_update AFTER UPDATE ON {TEXT} BEGIN
        INSERT INTO {FTS}({FTS}, rowid, text) VALUES ('delete', OLD.key, OLD.text);
        INSERT INTO {FTS}(rowid, text) VALUES (NEW.key, NEW.text); END""",
    f"""CREATE TRIGGER task_words AFTER UPDATE OF search_text, person ON {TASK}
        WHEN (OLD.search_text, OLD.person) IS NOT (NEW.search_text, NEW.person)
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.id; END""",
    f"""CREATE TRIGGER log_insert AFTER INSERT ON {LOG}
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.task_id; END""",
    f"""CREATE TRIGGER log_update AFTER UPDATE ON {LOG}
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.task_id; END""",
    f"CREATE TRIGGER tally_insert AFTER INSERT ON {TASK} BEGIN {_sqlite_add('NEW')} END",
    f"CREATE TRIGGER tally_delete AFTER DELETE ON {TASK} BEGIN {_sqlite_take('OLD')} END",
    f"""CREATE TRIGGER tally_update AFTER UPDATE OF {_COUNTED_COLUMNS} ON {TASK}
        WHEN ({_counted("OLD")}) IS NOT ({_counted("NEW")})
        BEGIN {_sqlite_take("OLD")} {_sqlite_add("NEW")} END""",
    *team_sql.SQLITE_TRIGGERS,
)
_SQLITE_FILL = (
    f"""INSERT INTO {TALLY} ({_GROUP}, count)
    SELECT {_sqlite_values("t")}, count(*) FROM {TASK} t GROUP BY 1, 2, 3, 4, 5""",
    *(
        f"""INSERT INTO {ROLLUP} ({_ROLLUP_GROUP}, count)
        SELECT '{grain}', {first.format(day="t.day")}, source_id, {node.format(node="t.node")}, type, outcome,
            sum(count) FROM {TALLY} t GROUP BY 1, 2, 3, 4, 5, 6"""
        for grain, (first, node) in _SQLITE_GRAINS.items()
    ),
)

_PG_DAY = "({row}.started_at AT TIME ZONE 'UTC')::date"
_PG_GRAINS = """LATERAL (VALUES ('w', date_trunc('week', c.day)::date, c.node),
        ('m', date_trunc('month', c.day)::date, c.node), ('y', date_trunc('year', c.day)::date, c.node),
        ('D', c.day, ''), ('W', date_trunc('week', c.day)::date, ''), ('M', date_trunc('month', c.day)::date, '')
        ) g (grain, day, node)"""


def _pg_counted(rows: str) -> str:
    return f"""SELECT {_PG_DAY.format(row="r")} AS day, r.source_id, r.node, r.type,
        {_OUTCOME.format(row="r")} AS outcome, count(*) AS n FROM {rows} r GROUP BY 1, 2, 3, 4, 5"""


def _pg_rolled_up(counted: str) -> str:
    """`counted`: a query for the columns of _GROUP and n."""
    return f"""SELECT g.grain, g.day, c.source_id, g.node, c.type, c.outcome, sum(c.n) AS n
        FROM ({counted}) c, {_PG_GRAINS} GROUP BY 1, 2, 3, 4, 5, 6"""


def _pg_add(counted: str) -> str:
    # In one order everywhere, so that two writers wait for each other and never in a circle.
    return f"""INSERT INTO {TALLY} ({_GROUP}, count) {counted} ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT ({_GROUP}) DO UPDATE SET count = {TALLY}.count + excluded.count;
        INSERT INTO {ROLLUP} ({_ROLLUP_GROUP}, count) {_pg_rolled_up(counted)} ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT ({_ROLLUP_GROUP}) DO UPDATE SET count = {ROLLUP}.count + excluded.count;"""


def _pg_take(counted: str) -> str:
    # No insert: with a source its tally goes first, then its tasks.
    return f"""UPDATE {TALLY} t SET count = t.count - c.n FROM ({counted}) c
        WHERE (t.day, t.source_id, t.node, t.type, t.outcome) = (c.day, c.source_id, c.node, c.type, c.outcome);
        UPDATE {ROLLUP} t SET count = t.count - c.n FROM ({_pg_rolled_up(counted)}) c
        WHERE (t.grain, t.day, t.source_id, t.node, t.type, t.outcome)
            = (c.grain, c.day, c.source_id, c.node, c.type, c.outcome);"""


def _pg_moved(row: str, n: int) -> str:
    return f"""SELECT {_PG_DAY.format(row=row)} AS day, {row}.source_id AS source_id, {row}.node AS node,
        {row}.type AS type, {_OUTCOME.format(row=row)} AS outcome, {n} AS n"""


_PG_TEXT = (
    "DROP INDEX IF EXISTS tasktext_trigrams",
    f"CREATE INDEX IF NOT EXISTS {PG_INDEX} ON {TEXT} USING gin ((key >> {STRETCH_BITS}), text gin_trgm_ops) "
    # What is not sorted in yet is read by every search.
    "WITH (gin_pending_list_limit = 512)",
)
_PG_TRIGGERS = (
    f"""CREATE OR REPLACE FUNCTION task_tally() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN {_pg_add(_pg_counted("fresh"))}
        ELSIF TG_OP = 'DELETE' THEN {_pg_take(_pg_counted("gone"))}
        END IF;
        RETURN NULL;
    END $$""",
    f"""CREATE OR REPLACE FUNCTION task_tally_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_pg_add(f"SELECT * FROM ({_pg_moved('OLD', -1)} UNION ALL {_pg_moved('NEW', 1)}) m")} RETURN NULL; END $$""",
    """CREATE OR REPLACE FUNCTION task_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.is_indexed := false; RETURN NEW; END $$""",
    f"DROP TRIGGER IF EXISTS task_words ON {TASK}",
    f"""CREATE TRIGGER task_words BEFORE UPDATE ON {TASK} FOR EACH ROW
    WHEN ((OLD.search_text, OLD.person) IS DISTINCT FROM (NEW.search_text, NEW.person))
    EXECUTE FUNCTION task_words()""",
    f"""CREATE OR REPLACE FUNCTION task_log_stored() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE {TASK} SET is_indexed = false WHERE id = NEW.task_id AND is_indexed; RETURN NULL; END $$""",
    f"DROP TRIGGER IF EXISTS log_stored ON {LOG}",
    f"""CREATE TRIGGER log_stored AFTER INSERT OR UPDATE ON {LOG}
    FOR EACH ROW EXECUTE FUNCTION task_log_stored()""",
    f"DROP TRIGGER IF EXISTS tally_insert ON {TASK}",
    f"""CREATE TRIGGER tally_insert AFTER INSERT ON {TASK} REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION task_tally()""",
    f"DROP TRIGGER IF EXISTS tally_delete ON {TASK}",
    f"""CREATE TRIGGER tally_delete AFTER DELETE ON {TASK} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION task_tally()""",
    f"DROP TRIGGER IF EXISTS tally_update ON {TASK}",
    f"""CREATE TRIGGER tally_update AFTER UPDATE ON {TASK} FOR EACH ROW
    WHEN (({_counted("OLD")}) IS DISTINCT FROM ({_counted("NEW")})) EXECUTE FUNCTION task_tally_move()""",
    *team_sql.PG_TRIGGERS,
    # Failures are nearly all acknowledged, which the planner would not guess: it would walk through all tasks.
    f"CREATE STATISTICS IF NOT EXISTS task_attention (mcv) ON state, acknowledged_at FROM {TASK}",
)
_PG_FILL = (
    f"INSERT INTO {TALLY} ({_GROUP}, count) {_pg_counted(TASK)}",
    f"""INSERT INTO {ROLLUP} ({_ROLLUP_GROUP}, count)
    {_pg_rolled_up(f"SELECT {_GROUP}, count AS n FROM {TALLY}")}""",
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing, as it is written here today, and fill the tallies once; harmless to repeat."""
    is_sqlite = connection.vendor == "sqlite"
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if is_sqlite:
            cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = %s", [FTS])
            index = () if cursor.fetchone()[0] else _SQLITE_FTS
            old = tuple(f"DROP TRIGGER IF EXISTS {trigger.split()[2]}" for trigger in _SQLITE_TRIGGERS)
            statements = (*index, *old, *_SQLITE_TRIGGERS)
        else:
            statements = (*_PG_TEXT, *_PG_TRIGGERS)
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(f"SELECT 1 FROM {TALLY} LIMIT 1")
        if cursor.fetchone() is None:
            cursor.execute(f"DELETE FROM {ROLLUP}")
            for statement in _SQLITE_FILL if is_sqlite else _PG_FILL:
                cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers and empty the tallies, which `install` fills anew."""
    if connection.vendor == "sqlite":
        triggers = [f"DROP TRIGGER IF EXISTS {trigger.split()[2]}" for trigger in _SQLITE_TRIGGERS]
    else:
        triggers = [statement for statement in _PG_TRIGGERS if statement.startswith("DROP TRIGGER")]
    tables = {TALLY, ROLLUP} & set(connection.introspection.table_names())
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in [*triggers, *(f"DELETE FROM {table}" for table in tables)]:
            cursor.execute(statement)


def remove_before_migrate(
    sender: Any, plan: Sequence[tuple[Migration, bool]], using: str = DEFAULT_DB_ALIAS, **_: Any
) -> None:
    """Receiver of pre_migrate: SQLite cannot rebuild a table that a trigger elsewhere names."""
    connection = connections[using]
    is_ours = any(migration.app_label == sender.label for migration, _ in plan)
    if is_ours and {TASK, LOG, TEXT} <= set(connection.introspection.table_names()):
        remove(connection)


def install_after_migrate(sender: Any, using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Receiver of post_migrate; nothing when the tables are not there (migrated back to before them)."""
    connection = connections[using]
    if {TEXT, TASK, TALLY, ROLLUP} <= set(connection.introspection.table_names()):
        install(connection)
