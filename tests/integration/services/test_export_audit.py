"""`manage.py export_audit`: the trail on standard output."""

import json

import pytest
from django.core.management import CommandError, call_command

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry
from tasks_app.services.exports import AT_ONCE

pytestmark = pytest.mark.django_db


def test_it_writes_the_filtered_trail_and_is_an_entry_of_the_portal(capfdbinary):
    record(Action.LOGIN, actor=None)
    record(Action.LOGOUT, actor=None)
    call_command("export_audit", "--format", "jsonl", "--action", "person.logout", "--since", "1h")
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [2]
    entry = AuditEntry.objects.get(action="audit.export")
    assert (entry.actor_name, entry.data["format"]) == ("portal", "jsonl")


@pytest.mark.parametrize(
    ("option", "value"),
    [("since", "yesterday"), ("action", "task.fly"), ("result", "perhaps"), ("until", "2026-13-01")],
)
def test_what_is_wrong_is_named_and_nothing_is_exported(option, value):
    with pytest.raises(CommandError, match=f"--{option}: "):
        call_command("export_audit", "--format", "csv", f"--{option}", value)
    assert not AuditEntry.objects.exists()


def test_a_reader_that_has_enough_is_no_error(monkeypatch, capfd):
    class Pipe:
        buffer = None

        def write(self, _):
            raise BrokenPipeError

        def fileno(self):
            return 1

    pipe = Pipe()
    pipe.buffer = pipe
    monkeypatch.setattr("sys.stdout", pipe)
    for _ in range(AT_ONCE + 1):  # and its place is given back
        call_command("export_audit", "--format", "csv")
