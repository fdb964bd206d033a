"""Results from the real web server: ranges as players ask for them, slow readers, and readers who leave."""

import http.client
import os
import random
import socket
import time
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from portal.asgi import PAGE_THREADS
from tasks_app.models import Asset, AuditEntry, Role
from tasks_app.states import State
from tests.factories import make_asset, make_generation, make_user
from tests.integration.live.server import HOST, running_server, sign_in, wait_until

CONTENT = random.Random(1).randbytes(300_000)
MB = 1024**2


@pytest.fixture
def web(transactional_db, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    with running_server() as running:
        yield running


@pytest.fixture
def session(web):
    return sign_in(make_user(Role.VIEWER))


def copied(content: bytes = CONTENT, **fields) -> Asset:
    generation = make_generation(state=State.COMPLETED)
    defaults = {
        "state": Asset.State.COPIED,
        "file": default_storage.save("results/x.mp4", ContentFile(content)),
        "name": "film.mp4",
        "media_type": "video/mp4",
        "size": len(content),
        "sha256": "cd" * 32,
    }
    return make_asset(generation, **(defaults | fields))


def ask(web, session: str, asset: Asset, method: str = "GET", query: str = "", **headers: str):
    connection = http.client.HTTPConnection(HOST, web.port, timeout=20)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(
        method, f"/results/{asset.pk}/{asset.name}{query}", headers={"Cookie": f"sessionid={session}"} | told
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_whole_file(web, session):
    answer, body = ask(web, session, copied())
    assert (answer.status, body) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{"cd" * 32}"'
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == 'inline; filename="film.mp4"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Request-Id"]
    counts = {name.lower(): len(answer.headers.get_all(name)) for name in answer.headers}
    assert {name for name, count in counts.items() if count > 1} == set()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=299999-", 299_999, 299_999),
        ("bytes=-500", 299_500, 299_999),
        ("bytes=200000-9999999", 200_000, 299_999),
    ],
)
def test_a_range(web, session, asked, first, last):
    answer, body = ask(web, session, copied(), Range=asked)
    assert (answer.status, body) == (206, CONTENT[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


def test_a_range_outside_the_file(web, session):
    answer, body = ask(web, session, copied(), Range="bytes=300000-")
    assert (answer.status, body) == (416, b"")
    assert answer.headers["Content-Range"] == "bytes */300000"


def test_several_ranges_get_the_whole_file(web, session):
    many = ",".join("0-" for _ in range(50))
    answer, body = ask(web, session, copied(), Range=f"bytes={many}")
    assert (answer.status, len(body)) == (200, len(CONTENT))


@pytest.mark.parametrize(
    ("etag", "status"), [(f'"{"cd" * 32}"', 206), ('"another"', 200)], ids=["same", "another"]
)
def test_a_range_only_of_the_file_that_the_player_knows(web, session, etag, status):
    answer, _ = ask(web, session, copied(), Range="bytes=0-9", If_Range=etag)
    assert answer.status == status


def test_only_the_head(web, session):
    answer, body = ask(web, session, copied(), "HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", str(len(CONTENT)))


def test_what_the_browser_has(web, session):
    answer, body = ask(web, session, copied(), If_None_Match=f'"{"cd" * 32}"')
    assert (answer.status, body) == (304, b"")


def test_an_empty_file(web, session):
    answer, body = ask(web, session, copied(b""))
    assert (answer.status, body) == (200, b"")


def test_a_file_that_has_vanished(web, session):
    asset = copied()
    Path(default_storage.path(asset.file.name)).unlink()
    answer, _ = ask(web, session, asset)
    assert answer.status == 404
    assert "ETag" not in answer.headers


def test_nobody_else_gets_it(web):
    asset = copied()
    assert ask(web, sign_in(make_user()), asset)[0].status == 404
    assert ask(web, "none", asset)[0].status == 302


def test_no_header_of_a_client_makes_the_server_send_a_file(web, session, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    asset = copied(state=Asset.State.FAILED)
    for name in ("portal.files", "X-Sendfile", "X-Accel-Redirect", "X-Portal-File", "asgi.scope"):
        answer, body = ask(web, session, asset, **{name: str(secret)})
        assert answer.status == 404
        assert b"secret" not in body


def test_a_download_is_noted(web, session):
    ask(web, session, copied(), query="?download=1")
    assert AuditEntry.objects.filter(action="result.download").count() == 1


def slow_reader(web, session: str, asset: Asset) -> socket.socket:
    """Asks for the file, reads its head and then nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((HOST, web.port))
    connection.sendall(
        f"GET /results/{asset.pk}/{asset.name} HTTP/1.1\r\nHost: {HOST}\r\nCookie: sessionid={session}\r\n\r\n".encode()
    )
    assert connection.recv(200).startswith(b"HTTP/1.1 200")
    return connection


def test_slow_readers_keep_no_page_waiting(web, session):
    asset = copied(bytes(30 * MB))
    readers = [slow_reader(web, session, asset) for _ in range(PAGE_THREADS * 3)]
    began = time.monotonic()
    answer, body = ask(web, session, asset, Range="bytes=5-14")
    seconds = time.monotonic() - began
    for reader in readers:
        reader.close()
    assert (answer.status, len(body)) == (206, 10)
    assert seconds < 3


def test_nobody_reads_the_disk_for_who_has_left(web, session):
    """The server takes what is sent to a reader who has left, so reading on would be possible and useless."""
    asset = copied()
    os.truncate(default_storage.path(asset.file.name), 4096 * MB)  # full of holes: it takes no space
    readers = [slow_reader(web, session, asset) for _ in range(5)]
    wait_until(lambda: open_files(asset) == 5, 5, "the beginning of reading")
    for reader in readers:
        reader.close()
    wait_until(lambda: open_files(asset) == 0, 1.5, "the end of reading")


def open_files(asset: Asset) -> int:
    path = default_storage.path(asset.file.name)
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += str(link.readlink()) == path
        except OSError:
            continue
    return found
