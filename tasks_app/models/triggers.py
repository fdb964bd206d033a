"""Triggers that make the audit trail append-only, on both databases.

They keep code and people from changing it by mistake. Who may change the schema can drop them: that such a hand is
found out is the work of the hash chain and its anchors outside the database.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

REFUSAL = "audit entries are append-only"
_ENTRIES, _HEAD = "tasks_app_auditentry", "tasks_app_audithead"
_PURGED = f"coalesce((SELECT purged_to FROM {_HEAD} WHERE id = 1), 0)"  # noqa: S608  names of ours

_SQLITE = (
    f"""CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON {_ENTRIES}
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON {_ENTRIES} WHEN OLD.number > {_PURGED}
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
)
_SQLITE_DROP = ("DROP TRIGGER IF EXISTS audit_no_update", "DROP TRIGGER IF EXISTS audit_no_delete")

_POSTGRESQL_DROP = (
    f"DROP TRIGGER IF EXISTS audit_no_change ON {_ENTRIES}",
    f"DROP TRIGGER IF EXISTS audit_no_truncate ON {_ENTRIES}",
)
_POSTGRESQL = (
    f"""CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND OLD.number <= {_PURGED} THEN RETURN OLD; END IF;
        RAISE EXCEPTION '{REFUSAL}';
    END $$""",
    *_POSTGRESQL_DROP,
    f"""CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON {_ENTRIES}
    FOR EACH ROW EXECUTE FUNCTION audit_append_only()""",
    f"""CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON {_ENTRIES}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()""",
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing; harmless to repeat."""
    _run(connection, _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL)


def remove(connection: BaseDatabaseWrapper) -> None:
    """For tests that empty all tables."""
    _run(connection, _SQLITE_DROP if connection.vendor == "sqlite" else _POSTGRESQL_DROP)


def install_after_migrate(sender: Any, using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Receiver of post_migrate; nothing when the tables are not there (migrated back to before them)."""
    connection = connections[using]
    if {_ENTRIES, _HEAD} <= set(connection.introspection.table_names()):
        install(connection)


def _run(connection: BaseDatabaseWrapper, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
