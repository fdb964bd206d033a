"""Filters of the audit trail come from addresses that anybody can write."""

from datetime import UTC, datetime, timedelta

import pytest
from django.http import QueryDict
from django.utils.timezone import now

from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.formats import Format
from tasks_app.forms.audit import AuditFilterForm, ExportForm


def test_an_address_becomes_filters_and_an_address_again():
    query = (
        "q=disk+full&actor=alice&action=task.cancel&result=refused&source=prod&target=task%3A7&request=ab12"
    )
    form = AuditFilterForm(QueryDict(query))
    assert form.filters == AuditFilters(
        text="disk full",
        actor="alice",
        action="task.cancel",
        result="refused",
        source="prod",
        target="task:7",
        request="ab12",
    )
    assert form.query == query
    assert (
        form.address(actor="", q="")
        == "action=task.cancel&result=refused&source=prod&target=task%3A7&request=ab12"
    )
    assert "Result: Refused" in form.chosen_words


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-11-19", "2026-11-20"),
        ("2026-11-19T00:00", "2026-11-21T00:00:00"),
        ("2026-11-19T00:00:00Z", "2026-11-21T02:00:00+02:00"),
        ("2026-11-19T00:00:00Z", "2026-11-21T02:00:00 02:00"),
    ],
    ids=["days", "times", "zones", "plus as blank"],
)
def test_a_time_can_be_given_in_several_ways(since, until):
    filters = AuditFilterForm({"since": since, "until": until}).filters
    assert filters.since == datetime(2026, 11, 19, tzinfo=UTC)
    assert filters.until == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(("text", "ago"), [("24h", timedelta(hours=24)), ("7d", timedelta(days=7))])
def test_a_time_can_be_so_long_ago(text, ago):
    since = AuditFilterForm({"since": text}).filters.since
    assert since is not None
    assert abs(now() - ago - since) < timedelta(seconds=10)


@pytest.mark.parametrize(
    "query",
    [
        "action=task.fly",
        "result=perhaps",
        "since=2026-02-31",
        "since=2026-02-31T25:00",
        "since=0000-00-00",
        "since=99999-01-01",
        "until=9999-12-31",
        "since=99999d",
        "q=%00",
        "actor=%00a",
        f"request={'a' * 41}",
    ],
    ids=lambda query: query[:24],
)
def test_what_is_wrong_is_left_out(query):
    form = AuditFilterForm(QueryDict(f"{query}&source=prod"))
    if "99999d" not in query:  # a long time ago, but a time
        assert form.filters == AuditFilters(source="prod")
        assert form.query == "source=prod"


def test_an_export_names_its_format():
    assert [choice[0] for choice in ExportForm.base_fields["format"].choices] == [f.value for f in Format]
    assert ExportForm(QueryDict("format=cef")).cleaned_data == {"format": "cef", "bom": False}
    assert ExportForm(QueryDict("format=csv&bom=1")).cleaned_data["bom"] is True
    assert "format" in ExportForm(QueryDict("format=exe")).errors
    assert "format" in ExportForm(QueryDict("")).errors
