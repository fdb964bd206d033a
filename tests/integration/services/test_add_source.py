"""`manage.py add_source` against a demo cluster over TLS, with its own certificate, and against what goes wrong."""

import io
import logging
import socket

import pytest
from django.core.management import CommandError, call_command

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.models import AuditEntry, Source

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def cluster():
    with DemoCluster(time_scale=0.01) as running:
        yield running


@pytest.fixture
def secret_file(tmp_path, cluster):
    path = tmp_path / "secret"
    path.write_text(cluster.token_secret + "\n")
    return path


def run(cluster, secret_file, *more, name="demo", url=None, fingerprint=None, token_id=None):
    out = io.StringIO()
    arguments = ["--name", name, "--url", url or cluster.url, "--token-id", token_id or cluster.token_id]
    arguments += ["--token-secret-file", str(secret_file)]
    if fingerprint != "":
        arguments += ["--fingerprint", fingerprint or cluster.fingerprint]
    call_command("add_source", "proxmox", *arguments, *more, stdout=out)
    return out.getvalue()


def test_it_connects_says_what_it_found_and_stores_the_source(cluster, secret_file):
    printed = run(cluster, secret_file)
    assert "Proxmox VE 9." in printed
    assert "✓ See the tasks of everybody" in printed
    assert "Source “demo” added." in printed
    source = Source.objects.get()
    assert connections.client_of(source).fetch_version().major == 9
    assert AuditEntry.objects.get().action == "source.add"


def test_the_secret_is_shown_nowhere(cluster, secret_file, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        printed = run(cluster, secret_file)
        with pytest.raises(CommandError) as refusal:
            run(cluster, secret_file)
    seen = printed + str(refusal.value) + caplog.text + str(list(AuditEntry.objects.values()))
    seen += "".join(capfd.readouterr()) + str(list(Source.objects.values()))
    assert cluster.token_secret not in seen


def test_a_token_that_lacks_something_is_told_with_the_cure(cluster, tmp_path):
    secret = tmp_path / "weak"
    secret.write_text(cluster.add_token("weak@pve", "web", {"/": ["PVEAuditor"]}))
    printed = run(cluster, secret, token_id="weak@pve!web")
    assert "✗ Start, stop and reboot guests" in printed
    assert "needs VM.PowerMgmt on /vms" in printed
    assert "pveum acl modify /vms --tokens 'weak@pve!web'" in printed
    assert Source.objects.exists()


def test_a_demo_is_marked(cluster, secret_file):
    run(cluster, secret_file, "--demo")
    assert Source.objects.get().is_demo


def test_a_ca_file_is_trusted_instead_of_a_fingerprint(cluster, secret_file, tmp_path):
    import ssl

    host, port = cluster.url.removeprefix("https://").split(":")
    pem = tmp_path / "ca.pem"
    pem.write_text(ssl.get_server_certificate((host, int(port))))
    assert "added" in run(cluster, secret_file, "--ca-file", str(pem), fingerprint="")
    assert "BEGIN CERTIFICATE" in Source.objects.get().ca_pem


def test_a_name_that_exists_is_refused_and_replaced_on_demand(cluster, secret_file):
    run(cluster, secret_file, "--no-check", url="https://127.0.0.1:1")
    with pytest.raises(CommandError, match="There is a source “demo” already"):
        run(cluster, secret_file)
    assert "changed" in run(cluster, secret_file, "--replace")
    assert Source.objects.get().urls == [cluster.url]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "https://no-such-host.invalid:8006"}, "cannot be resolved"),
        ({"url": f"https://127.0.0.1:{free_port()}"}, "refuses connections"),
        ({"fingerprint": ":".join(["AB"] * 32)}, "another certificate than the pinned one"),
        ({"token_id": "nobody@pve!web"}, "does not accept the API token"),
        ({"url": "ftp://pve1"}, "--url: "),
        ({"fingerprint": "AB:CD"}, "--fingerprint: "),
        ({"fingerprint": ""}, "either --fingerprint or --ca-file"),
        ({"token_id": "root"}, "--token-id: "),
        ({"name": " "}, "--name: "),
    ],
)
def test_each_failure_is_said_in_plain_words_and_stores_nothing(cluster, secret_file, changes, words):
    with pytest.raises(CommandError, match=words) as refusal:
        run(cluster, secret_file, **changes)
    assert refusal.value.returncode == 1
    assert not Source.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "--token-secret-file: "),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(cluster, tmp_path, content, words):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=words):
        run(cluster, path)


def test_without_check_nothing_is_asked(cluster, secret_file):
    before = sum(cluster.requests.values())
    assert "added" in run(cluster, secret_file, "--no-check")
    assert sum(cluster.requests.values()) == before
