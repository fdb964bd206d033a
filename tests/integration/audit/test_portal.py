"""The whole portal ships its trail: the server and the shipping worker are killed, and nothing is missing."""

import re
import subprocess
import sys

import pytest

from tests.integration.audit.receiver import Receiver
from tests.integration.supervisor.running import ROOT, RunningPortal, wait_until

pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]
WITHIN = 60.0

# Run in the portal's own environment: more entries than fit into one batch while the receiver is slow.
_WRITE = """
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
for number in range(1500):
    record(Action.LOGIN, actor=None, number=number)
"""


def manage(portal, *arguments):
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=portal.environ, check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def numbers(receiver):
    return [int(re.search(r' number="(\d+)"', text)[1]) for _, text in receiver.received]


def test_the_trail_arrives_whoever_is_killed(tmp_path):
    receiver = Receiver(tmp_path / "receiver", "--pause", "0.001")
    environ = {"PORTAL_AUDIT_SYSLOG_URL": receiver.url, "PORTAL_AUDIT_SYSLOG_CA": receiver.ca_pem}
    portal = RunningPortal(tmp_path / "portal", demo=False, environ=environ)
    receiver.start()
    try:
        portal.start()
        exported = manage(portal, "export_audit", "--format", "jsonl")
        assert b'"action":"audit.export"' in exported
        wait_until(lambda: len(receiver.received) >= 1, WITHIN, "the first entry")
        before = len(receiver.received)
        manage(portal, "shell", "-c", _WRITE)
        wait_until(lambda: len(receiver.received) > before + 100, WITHIN, "some of many")
        for process in portal.processes():
            if "qcluster" in " ".join(process.cmdline()):
                process.kill()
        receiver.kill()
        receiver.start()
        last = portal.query("SELECT number FROM tasks_app_audithead")[0][0]
        wait_until(lambda: last in numbers(receiver), WITHIN, f"entry {last} of {len(receiver.received)}")
    finally:
        portal.stop()
        receiver.kill()
    assert set(numbers(receiver)) >= set(range(1, last + 1))
    assert last > 1500
