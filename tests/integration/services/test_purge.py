"""A purge is killed in the middle: what it had said it removes is in the trail, and the next one removes the rest."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 60
COUNT = 6000

FILL = f"""
from datetime import timedelta
from django.db import transaction
from django.utils.timezone import now
from tasks_app.ingest.insertion import insert_tasks, like
from tasks_app.models import RetentionPeriod, Task
from tests.factories import make_source
began = now() - timedelta(days=60)
empty = Task(source=make_source(), state="completed", exit_text="OK", node="pve1", type="qmstart", remote_user="a@pam")
rows = []
for number in range({COUNT}):
    row = like(empty)
    row.started_at = began + timedelta(seconds=number)
    row.ended_at = row.started_at
    row.remote_id = f"UPID:pve1:{{number:08X}}:00000001:{{int(row.started_at.timestamp()):08X}}:qmstart:100:a@pam:"
    rows.append(row)
with transaction.atomic():
    for first in range(0, len(rows), 500):
        insert_tasks(rows[first : first + 500])
RetentionPeriod.objects.create(family="start", days=30)
"""
PURGE = """
from tasks_app.services.retention import purge
print("begins", flush=True)
purge()
"""


@pytest.fixture
def environ(tmp_path):
    """A data directory of its own with a migrated database of old tasks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    environ = kept | {
        "PORTAL_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        env=environ,
        cwd=ROOT,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    start(environ, FILL).wait(TIMEOUT_SECONDS)
    return environ


def start(environ, script):
    command = [sys.executable, "-c", f"import django\ndjango.setup()\n{script}"]
    return subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def ask(environ, query):
    (database,) = Path(environ["PORTAL_DATA_DIR"]).glob("*.sqlite3")
    with sqlite3.connect(database, timeout=20) as rows:
        return rows.execute(query).fetchone()[0]


def test_a_killed_purge_is_finished_by_the_next(environ):
    process = start(environ, PURGE)
    assert process.stdout.readline() == "begins\n"
    end = time.monotonic() + TIMEOUT_SECONDS
    while ask(environ, "SELECT count(*) FROM tasks_app_task") == COUNT:
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(TIMEOUT_SECONDS)
    left = ask(environ, "SELECT count(*) FROM tasks_app_task")
    assert 0 < left < COUNT
    entries = "SELECT count(*) FROM tasks_app_auditentry WHERE action = 'tasks.purge'"
    planned = "SELECT json_extract(data, '$.tasks') FROM tasks_app_auditentry ORDER BY number DESC LIMIT 1"
    assert (ask(environ, entries), ask(environ, planned)) == (1, COUNT)
    assert ask(environ, "SELECT sum(count) FROM tasks_app_tasktally") == left

    # Two minutes later, when its hold has run out.
    with sqlite3.connect(next(Path(environ["PORTAL_DATA_DIR"]).glob("*.sqlite3")), timeout=20) as rows:
        rows.execute("UPDATE tasks_app_retentionperiod SET purging_until = '2026-01-01 00:00:00'")
    assert start(environ, PURGE).wait(TIMEOUT_SECONDS) == 0
    assert ask(environ, "SELECT count(*) FROM tasks_app_task") == 0
    assert (ask(environ, entries), ask(environ, planned)) == (2, left)
    assert ask(environ, "SELECT sum(count) FROM tasks_app_tasktally") == 0
