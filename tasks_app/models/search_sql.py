"""What Django's migrations cannot say on both databases: the index over task texts, and the triggers of the tally.

SQLite: an FTS5 table with the trigram tokenizer over `TaskText`, kept by triggers, its rowid is `TaskText.key`. Without
positions (detail=none), which makes it a third of the size; a match is checked against the text itself.
PostgreSQL: a GIN index of trigrams (pg_trgm).

Whoever changes the words of a task or stores its log makes it due for indexing, also by a trigger: nobody can forget.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

TEXT, TASK, TALLY = "tasks_app_tasktext", "tasks_app_task", "tasks_app_tasktally"
LOG = "tasks_app_tasklog"
FTS = "tasks_app_tasktext_fts"

_GROUP = "day, source_id, node, type, state"
_SQLITE_DAY = "date({row}.started_at)"
_PG_DAY = "({row}.started_at AT TIME ZONE 'UTC')::date"


def _sqlite_add(row: str) -> str:
    values = f"{_SQLITE_DAY.format(row=row)}, {row}.source_id, {row}.node, {row}.type, {row}.state"
    return (
        f"INSERT INTO {TALLY} ({_GROUP}, count) VALUES ({values}, 1) "
        f"ON CONFLICT ({_GROUP}) DO UPDATE SET count = count + 1;"
    )


def _sqlite_take(row: str) -> str:
    # No insert: with a source its tally goes first, then its tasks.
    return (
        f"UPDATE {TALLY} SET count = count - 1 WHERE day = {_SQLITE_DAY.format(row=row)} "
        f"AND source_id = {row}.source_id AND node = {row}.node AND type = {row}.type AND state = {row}.state;"
    )


_SQLITE_FTS = (
    f"""CREATE VIRTUAL TABLE {FTS} USING fts5(
        text, content='{TEXT}', content_rowid='key', tokenize='trigram case_sensitive 1', detail='none')""",
    f"INSERT INTO {FTS}({FTS}) VALUES ('rebuild')",
)
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER IF NOT EXISTS tasktext_insert AFTER INSERT ON {TEXT} BEGIN
        INSERT INTO {FTS}(rowid, text) VALUES (NEW.key, NEW.text); END""",
    f"""CREATE TRIGGER IF NOT EXISTS tasktext_delete AFTER DELETE ON {TEXT} BEGIN
        INSERT INTO {FTS}({FTS}, rowid, text) VALUES ('delete', OLD.key, OLD.text); END""",
    f"""CREATE TRIGGER IF NOT EXISTS tasktext_update AFTER UPDATE ON {TEXT} BEGIN
        INSERT INTO {FTS}({FTS}, rowid, text) VALUES ('delete', OLD.key, OLD.text);
        INSERT INTO {FTS}(rowid, text) VALUES (NEW.key, NEW.text); END""",
    f"""CREATE TRIGGER IF NOT EXISTS task_words AFTER UPDATE OF search_text ON {TASK}
        WHEN OLD.search_text IS NOT NEW.search_text
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.id; END""",
    f"""CREATE TRIGGER IF NOT EXISTS log_insert AFTER INSERT ON {LOG}
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.task_id; END""",
    f"""CREATE TRIGGER IF NOT EXISTS log_update AFTER UPDATE ON {LOG}
        BEGIN UPDATE {TASK} SET is_indexed = 0 WHERE id = NEW.task_id; END""",
    f"CREATE TRIGGER IF NOT EXISTS tally_insert AFTER INSERT ON {TASK} BEGIN {_sqlite_add('NEW')} END",
    f"CREATE TRIGGER IF NOT EXISTS tally_delete AFTER DELETE ON {TASK} BEGIN {_sqlite_take('OLD')} END",
    f"""CREATE TRIGGER IF NOT EXISTS tally_update AFTER UPDATE OF state, type, node, source_id, started_at ON {TASK}
        WHEN (OLD.state, OLD.type, OLD.node, OLD.source_id, OLD.started_at)
            IS NOT (NEW.state, NEW.type, NEW.node, NEW.source_id, NEW.started_at)
        BEGIN {_sqlite_take("OLD")} {_sqlite_add("NEW")} END""",
)
_SQLITE_FILL = f"""INSERT INTO {TALLY} ({_GROUP}, count)
    SELECT {_SQLITE_DAY.format(row="t")}, source_id, node, type, state, count(*) FROM {TASK} t GROUP BY 1, 2, 3, 4, 5"""


_PG_COUNTED = f"""SELECT {_PG_DAY.format(row="r")} AS day, r.source_id, r.node, r.type, r.state, count(*) AS n
        FROM {{rows}} r GROUP BY 1, 2, 3, 4, 5"""
# In one order everywhere, so that two writers wait for each other and never in a circle.
_PG_ADD = f"""INSERT INTO {TALLY} ({_GROUP}, count) {_PG_COUNTED.format(rows="fresh")} ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT ({_GROUP}) DO UPDATE SET count = {TALLY}.count + excluded.count;"""
# No insert: with a source its tally goes first, then its tasks.
_PG_TAKE = f"""UPDATE {TALLY} t SET count = t.count - c.n FROM ({_PG_COUNTED.format(rows="gone")}) c
        WHERE (t.day, t.source_id, t.node, t.type, t.state) = (c.day, c.source_id, c.node, c.type, c.state);"""

_PG_TEXT = (f"CREATE INDEX IF NOT EXISTS tasktext_trigrams ON {TEXT} USING gin (text gin_trgm_ops)",)
_PG_TRIGGERS = (
    f"""CREATE OR REPLACE FUNCTION task_tally() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN {_PG_ADD}
        ELSIF TG_OP = 'DELETE' THEN {_PG_TAKE}
        END IF;
        RETURN NULL;
    END $$""",
    f"""CREATE OR REPLACE FUNCTION task_tally_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO {TALLY} ({_GROUP}, count) SELECT * FROM (VALUES
            ({_PG_DAY.format(row="OLD")}, OLD.source_id, OLD.node, OLD.type, OLD.state, -1),
            ({_PG_DAY.format(row="NEW")}, NEW.source_id, NEW.node, NEW.type, NEW.state, 1)) r
            ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT ({_GROUP}) DO UPDATE SET count = {TALLY}.count + excluded.count;
        RETURN NULL;
    END $$""",
    """CREATE OR REPLACE FUNCTION task_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.is_indexed := false; RETURN NEW; END $$""",
    f"DROP TRIGGER IF EXISTS task_words ON {TASK}",
    f"""CREATE TRIGGER task_words BEFORE UPDATE ON {TASK} FOR EACH ROW
    WHEN (OLD.search_text IS DISTINCT FROM NEW.search_text) EXECUTE FUNCTION task_words()""",
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
    WHEN ((OLD.state, OLD.type, OLD.node, OLD.source_id, OLD.started_at)
        IS DISTINCT FROM (NEW.state, NEW.type, NEW.node, NEW.source_id, NEW.started_at))
    EXECUTE FUNCTION task_tally_move()""",
)
_PG_FILL = f"""INSERT INTO {TALLY} ({_GROUP}, count)
    SELECT {_PG_DAY.format(row="t")}, source_id, node, type, state, count(*) FROM {TASK} t GROUP BY 1, 2, 3, 4, 5"""


def install(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing and fill the tally once; harmless to repeat."""
    is_sqlite = connection.vendor == "sqlite"
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if is_sqlite:
            cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = %s", [FTS])
            statements = (*(_SQLITE_FTS if not cursor.fetchone()[0] else ()), *_SQLITE_TRIGGERS)
        else:
            statements = (*_PG_TEXT, *_PG_TRIGGERS)
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(f"SELECT 1 FROM {TALLY} LIMIT 1")
        if cursor.fetchone() is None:
            cursor.execute(_SQLITE_FILL if is_sqlite else _PG_FILL)


def install_after_migrate(sender: Any, using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Receiver of post_migrate; nothing when the tables are not there (migrated back to before them)."""
    connection = connections[using]
    if {TEXT, TASK, TALLY} <= set(connection.introspection.table_names()):
        install(connection)
