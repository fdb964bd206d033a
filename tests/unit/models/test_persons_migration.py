"""Rows from before persons were kept get the one who asked; the rest stays as it is."""

import importlib

import pytest
from django.apps import apps
from django.db import connection

from tasks_app.models import Submission, Task
from tests.factories import make_generation, make_guest, make_task

pytestmark = pytest.mark.django_db
migration = importlib.import_module("tasks_app.migrations.0007_persons")


def asked(name: str, guest) -> Task:
    submission = Submission.objects.create(
        source=guest.source,
        action="start",
        guest_kind=guest.kind,
        node="pve1",
        vmid=guest.vmid,
        actor_name=name,
        idempotency_key=f"{name}-{Submission.objects.count()}",
    )
    return make_task(guest.source, submission=submission, person="")


def test_who_asked_is_written_in_batches_and_twice_is_harmless(monkeypatch):
    monkeypatch.setattr(migration, "BATCH", 2)
    guest = make_guest()
    tasks = [asked(name, guest) for name in ("ann", "bob", "ann", "cy", "ann")]
    foreign, known = make_task(guest.source), make_task(guest.source, person="dora")
    made, others = make_generation(task={"person": ""}), make_generation(actor=None)
    for _ in range(2):
        migration.name_askers(apps, connection.schema_editor())
    names = dict(Task.objects.values_list("pk", "person"))
    assert [names[task.pk] for task in tasks] == ["ann", "bob", "ann", "cy", "ann"]
    assert (names[foreign.pk], names[known.pk]) == ("", "dora")
    assert (names[made.pk], names[others.pk]) == (made.actor_name, "")
