"""The commands as processes: exit codes, and a reader that closes the pipe early."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 60

FILL = """
import django
django.setup()
from tests.factories import make_source, make_task
source = make_source(name="prod")
for _ in range(300):
    make_task(source, object_name="x" * 300)
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    """A data directory of its own with a migrated database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    environ = kept | {
        "PORTAL_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PYTHONPATH": str(ROOT),
    }
    run(environ, "migrate", "--verbosity", "0", check=True)
    subprocess.run([sys.executable, "-c", FILL], env=environ, cwd=ROOT, check=True, timeout=TIMEOUT_SECONDS)
    return environ


def run(environ, *arguments, check=False):
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=check
    )


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_closed_pipe_is_no_error(environ, option):
    command = [sys.executable, "manage.py", "list_tasks", "--limit", "1000", *option]
    with subprocess.Popen(
        command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_a_failure_ends_with_one_and_one_plain_sentence(environ, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("12345678-1234-1234-1234-123456789abc")
    arguments = ["--name", "lab", "--url", "https://127.0.0.1:1", "--fingerprint", "AB" * 32]
    arguments += ["--token-id", "portal@pve!web", "--token-secret-file", str(secret)]
    ended = run(environ, "add_source", "proxmox", *arguments)
    assert ended.returncode == 1
    assert "refuses connections" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert secret.read_text() not in ended.stdout + ended.stderr


def test_without_tables_the_cure_is_named(environ, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("12345678-1234-1234-1234-123456789abc")
    arguments = ["--name", "lab", "--url", "https://127.0.0.1:1", "--fingerprint", "AB" * 32, "--no-check"]
    arguments += ["--token-id", "portal@pve!web", "--token-secret-file", str(secret)]
    ended = run(environ | {"PORTAL_DATA_DIR": str(tmp_path)}, "add_source", "proxmox", *arguments)
    assert ended.returncode == 1
    assert "Run manage.py migrate first" in ended.stderr
    assert "Traceback" not in ended.stderr
