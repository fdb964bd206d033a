"""The certificate of an address that nobody trusts yet, and what a check of a source says about it."""

import pytest

from tasks_app.services.generation_sources import check_generation_connection
from tasks_app.sources.certificates import fetch_fingerprint
from tasks_app.sources.generation.base import GenerationConnection
from tasks_app.sources.tls import Trust
from tests.integration.sources.test_http import closed_url, serve  # noqa: F401
from tests.integration.sources.tls_server import always, json_answer


def test_fingerprint_is_read_without_a_request(serve):  # noqa: F811
    server = serve(always(json_answer(b"{}")))
    assert fetch_fingerprint(server.url) == server.fingerprint
    assert not any(server.requests)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "https://", "https://[x", "x"])
def test_nothing_is_made_up_where_nobody_answers(url):
    assert fetch_fingerprint(url) == ""


def test_check_shows_the_fingerprint_to_compare_and_accepts_it_when_pinned(serve):  # noqa: F811
    server = serve(always(json_answer(b'{"status": "healthy"}')))

    def check(*pins: str):
        connection = GenerationConnection("studio", server.url, Trust(pins), key="very-secret")
        return check_generation_connection("task_api", connection)

    stranger = check()
    assert (stranger.kind, stranger.fingerprint) == ("certificate", server.fingerprint)
    assert not any("very-secret" in request for request in server.requests)
    other = check(":".join(["AA"] * 32))
    assert (other.kind, other.fingerprint) == ("certificate", server.fingerprint)
    assert check(server.fingerprint).kind != "certificate"
