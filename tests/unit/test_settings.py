"""Settings come from PORTAL_* variables; a wrong one stops the start and is named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of its own and print what the test needs."""
    code = "from django.conf import settings as s; print(s.DATABASES['default']['ENGINE'], s.WORKERS, s.SECRET_KEY)"
    base = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            **base,
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PORTAL_DATA_DIR": str(tmp_path),
            **environ,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTAL_WORKERS", "many"),
        ("PORTAL_WORKERS", "0"),
        ("PORTAL_DEBUG", "perhaps"),
        ("PORTAL_DATABASE_URL", "mysql://somewhere"),
        ("PORTAL_LOG_LEVEL", "LOUD"),
        ("PORTAL_WORKRES", "2"),
        ("PORTAL_TIME_ZONE", "Mars/Olympus"),
        ("PORTAL_TIME_ZONE", "../../etc/passwd"),
        ("PORTAL_TIME_ZONE", ""),
        ("PORTAL_DATA_DIR", "/dev/null/portal"),
        ("PORTAL_SECRET_KEY_FILE", "/nowhere/at/all"),
        ("PORTAL_MEDIA_URL", "https://bucket.example/"),
        ("PORTAL_MEDIA_URL", "s3:///prefix"),
        ("PORTAL_MEDIA_URL", "s3://key:secret@bucket/prefix"),
        ("PORTAL_MEDIA_URL", "s3://bucket/prefix?acl=public-read"),
        ("PORTAL_MEDIA_URL", "s3://bucket?endpoint_url=minio:9000"),
        ("PORTAL_MEDIA_ACCESS_KEY", "AKIA"),
        ("PORTAL_AUDIT_SYSLOG_URL", "syslog://logs.example"),
        ("PORTAL_AUDIT_SYSLOG_URL", "syslog+tls://"),
        ("PORTAL_AUDIT_SYSLOG_URL", "syslog+tls://logs.example:70000"),
        ("PORTAL_AUDIT_SYSLOG_CA", "without a server"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(tmp_path, name, value):
    result = start(tmp_path, **{name: value})
    assert result.returncode != 0
    assert name in result.stderr.splitlines()[-1]


def test_a_secret_can_be_read_from_a_file(tmp_path):
    (tmp_path / "key").write_text("from-the-file\n")
    result = start(tmp_path, PORTAL_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert result.stdout.split()[-1] == "from-the-file"


@pytest.mark.parametrize(
    ("url", "pem"),
    [
        ("syslog+tls://logs.example", "no certificate"),
        ("syslog+tcp://localhost", "-----BEGIN CERTIFICATE-----"),
    ],
    ids=["not a certificate", "not for plain tcp"],
)
def test_the_ca_of_the_syslog_server_is_checked_at_the_start(tmp_path, url, pem):
    (tmp_path / "ca.pem").write_text(pem)
    result = start(
        tmp_path, PORTAL_AUDIT_SYSLOG_URL=url, PORTAL_AUDIT_SYSLOG_CA_FILE=str(tmp_path / "ca.pem")
    )
    assert result.returncode != 0
    assert "PORTAL_AUDIT_SYSLOG_CA" in result.stderr.splitlines()[-1]


def test_a_value_and_its_file_at_once_are_refused(tmp_path):
    (tmp_path / "key").write_text("x")
    result = start(tmp_path, PORTAL_SECRET_KEY="y", PORTAL_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert "keep one" in result.stderr


def test_keys_are_made_once_and_are_private(tmp_path):
    first, second = start(tmp_path).stdout, start(tmp_path).stdout
    assert first == second
    for name in ("secret_key", "secrets_key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_example_file_names_every_setting_and_no_other():
    source = (ROOT / "portal" / "settings.py").read_text()
    read = set(re.findall(r'env\.\w+\(\s*"(PORTAL_\w+)"', source))
    example = set(re.findall(r"^# (PORTAL_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read == example


def test_a_wrong_value_is_said_in_one_line_without_a_traceback():
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={**os.environ, "PORTAL_WORKERS": "many"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert result.stderr == "PORTAL_WORKERS must be a whole number, not 'many'.\n"
