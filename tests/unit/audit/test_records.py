"""Audit entries as records."""

from datetime import UTC, datetime

import pytest

from tasks_app.audit.formats import LONGEST_SHIPPED, Severity, syslog_message
from tasks_app.audit.records import ENTRIES, record_of_entry
from tasks_app.models import AuditEntry


def make(**fields):
    defaults = {
        "number": 1,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "actor_name": "alice",
        "action": "task.cancel",
    }
    return AuditEntry(previous_hash="0" * 64, hash="f" * 64, **(defaults | fields))


def test_a_record_has_every_column_of_its_layout_and_no_other():
    assert set(record_of_entry(make()).values) == {column.name for column in ENTRIES.columns}


@pytest.mark.parametrize(
    ("result", "severity"),
    [("done", Severity.INFO), ("refused", Severity.WARNING), ("failed", Severity.ERROR)],
)
def test_the_result_decides_the_severity(result, severity):
    record = record_of_entry(make(result=result, target_name="Clone 303"))
    assert record.severity is severity
    assert record.sentence == f"alice: task.cancel Clone 303 ({result})"


def test_the_longest_entry_there_can_be_fits_into_a_message():
    """Four bytes for each character of each text, and more of it than a message takes."""
    texts = {}
    for field in AuditEntry._meta.fields:
        if field.get_internal_type() in ("CharField", "TextField") and field.name not in (
            "hash",
            "previous_hash",
        ):
            texts[field.name] = "😀" * (field.max_length or 50_000)
    texts |= {"result": "refused", "ip": "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "number": 2**63 - 1}
    record = record_of_entry(make(**texts, actor_id=2**63 - 1, data={"a": "😀" * 50_000}))
    message = syslog_message(ENTRIES, record, host="h" * 300, longest=LONGEST_SHIPPED)
    assert len(message) <= LONGEST_SHIPPED
