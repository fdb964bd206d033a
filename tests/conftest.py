"""For every test: the audit trail's triggers refuse DELETE, which is how a test with real transactions cleans up."""

import pytest
from django.db.backends.base.operations import BaseDatabaseOperations

from tasks_app.models import triggers


@pytest.fixture(autouse=True, scope="session")
def _tables_can_be_emptied():
    empty = BaseDatabaseOperations.execute_sql_flush

    def without_triggers(self, statements):
        triggers.remove(self.connection)
        try:
            return empty(self, statements)
        finally:
            triggers.install(self.connection)

    BaseDatabaseOperations.execute_sql_flush = without_triggers
    yield
    BaseDatabaseOperations.execute_sql_flush = empty
