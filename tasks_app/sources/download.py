"""Fetches the bytes of a result from wherever a remote says they are, and trusts that address as little as possible.

https leads anywhere in the open internet; plain http and private addresses only to the source's own origin. The key
goes to that origin alone, and never again once a redirect has left it. Names are resolved here, and what is connected
to is the very address that was looked at, so a name that changes its mind in between gains nothing.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import urljoin

import urllib3.exceptions
from urllib3 import BaseHTTPResponse, HTTPConnectionPool
from urllib3.util import Timeout, Url, parse_url

from tasks_app.sources import addresses, failures
from tasks_app.sources.errors import SourceError, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import Download
from tasks_app.sources.plain import build_plain_pool_class
from tasks_app.sources.tls import NotSent, Trust, build_context, build_pool_class

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""Without a byte for so long the download has failed. Storages that wake an archive take tens of seconds."""
MAX_SECONDS = 1800.0
"""A whole download: 2 GB at 1.2 MB/s."""
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 128 * 1024
MAX_ADDRESSES = 4
"""Of one name that are tried."""
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Network:
    """What lies outside the source's own origin: whom to believe there, and which addresses may be visited."""

    trust: Trust = field(default_factory=Trust)
    resolve: Callable[[str, int], list[addresses.SocketAddress]] = addresses.resolve
    is_allowed: Callable[[str], bool] = addresses.is_public


OPEN_INTERNET = Network()


@contextmanager
def open_download(
    url: str,
    *,
    own_url: str,
    trust: Trust,
    key_headers: Mapping[str, str] | None = None,
    max_seconds: float = MAX_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
    network: Network = OPEN_INTERNET,
) -> Iterator[Download]:
    """The answer at `url` with its bytes still to be read; declared size and type are those of the final answer.

    `own_url` is an address of the source, `trust` holds for its origin, `key_headers` go there alone. The bytes come
    undecoded; `chunks` raises too, when the answer stops too early or takes too long.

    Raises SourceUnavailable (ask again), SourceRefused (kinds not_found, expired, forbidden, invalid; address when it
    leads where no download may lead) and SourceNeedsPerson (the certificate).
    """
    visit = _Visit(
        own_url, trust, key_headers or {}, time.monotonic() + max_seconds, silence_seconds, network
    )
    response = visit.open(url)
    try:
        yield Download(visit.read(response), _size_of(response), _media_type_of(response))
    finally:
        response.close()


class _Visit:
    """One download with all its redirects."""

    def __init__(
        self,
        own_url: str,
        trust: Trust,
        key_headers: Mapping[str, str],
        deadline: float,
        silence_seconds: float,
        network: Network,
    ) -> None:
        self._own = _origin_of(_parse(own_url))
        self._trust = trust
        self._key_headers = key_headers
        self._deadline = deadline
        self._silence_seconds = silence_seconds
        self._network = network
        self._host = ""

    def open(self, url: str) -> BaseHTTPResponse:
        """The first answer that is no redirect and a success."""
        target, is_own_so_far = _parse(url), True
        for _ in range(MAX_REDIRECTS + 1):
            is_own = _origin_of(target) == self._own
            is_own_so_far = is_own_so_far and is_own
            response = self._ask(target, is_own=is_own, with_key=is_own_so_far)
            location = response.headers.get("location", "") if response.status in REDIRECTS else ""
            if not location:
                return self._checked(response)
            response.close()
            target = _parse(_joined(target, location))
        raise SourceRefused(f"{self._host} redirects in circles.", kind="invalid")

    def read(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """The bytes as they come, at most CHUNK_BYTES at once."""
        while chunk := self._read_one(response):
            yield chunk

    def _read_one(self, response: BaseHTTPResponse) -> bytes:
        if time.monotonic() > self._deadline:
            raise SourceUnavailable(f"The download from {self._host} took too long.", kind="timeout")
        try:
            return response.read1(CHUNK_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            failure = self._broken(error)
        raise failure

    def _broken(self, error: Exception) -> SourceError:
        if failures.is_timeout(error):
            return SourceUnavailable(f"{self._host} stopped sending in the middle.", kind="timeout")
        return SourceUnavailable(f"{self._host} closed the connection in the middle.", kind="connection")

    def _ask(self, target: Url, *, is_own: bool, with_key: bool) -> BaseHTTPResponse:
        """One request. Errors are raised outside of `except`, so that they carry no request in their context."""
        self._host = (target.netloc or "")[:200]
        if target.scheme != "https" and not is_own:
            raise SourceRefused(
                f"{self._host} is not asked without TLS: plain http is for the source's own address.",
                kind="address",
            )
        headers = {"User-Agent": "task-portal", "Accept": "*/*", "Accept-Encoding": "identity"}
        if with_key:
            headers |= self._key_headers
        try:
            pool = self._pool_for(target, is_own=is_own)
            return pool.urlopen(
                "GET",
                target.request_uri,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except NotSent as error:
            failure = (
                error.cause
                if isinstance(error.cause, SourceError)
                else failures.not_connected(error.cause, self._host)
            )
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            failure = failures.answer_lost(error, self._host, is_read=True)
        raise failure

    def _pool_for(self, target: Url, *, is_own: bool) -> HTTPConnectionPool:
        """A pool for one connection that goes to a checked address."""
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        options: dict[str, Any] = {
            "timeout": Timeout(connect=min(CONNECT_SECONDS, left_seconds), read=self._silence_seconds),
            "maxsize": 1,
        }
        plain: type[HTTPConnectionPool]
        if target.scheme == "https":
            trust = self._trust if is_own else self._network.trust
            plain = build_pool_class(trust, left_seconds)
            options["ssl_context"] = build_context(trust)
        else:
            plain = build_plain_pool_class(left_seconds)
        pool = plain(target.host or "", _port_of(target), **options)
        pool.ConnectionCls = _checking(pool.ConnectionCls, self._network, may_be_private=is_own)
        return pool

    def _checked(self, response: BaseHTTPResponse) -> BaseHTTPResponse:
        failure = _refusal(response, self._host)
        if failure is None:
            return response
        response.close()
        raise failure


def _checking(base: type[Any], network: Network, *, may_be_private: bool) -> type[Any]:
    """`base`, connecting only to an address that was looked at here, never to a name."""

    class CheckedConnection(base):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            found = network.resolve(self.host.strip("[]"), self.port)
            if not may_be_private and not all(network.is_allowed(address[0]) for _, address in found):
                raise SourceRefused(
                    f"{self.host} lies in a private network: results are taken from there only at the "
                    "source's own address.",
                    kind="address",
                )
            return _connect(found, self.timeout)

    return cast(type[Any], CheckedConnection)


def _connect(found: list[addresses.SocketAddress], timeout_seconds: float) -> socket.socket:
    """A connection to the first of `found` that answers. Raises the last OSError."""
    last: OSError = OSError("the name has no address")
    for family, address in found[:MAX_ADDRESSES]:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_seconds)
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            last = error
    raise last


def _refusal(response: BaseHTTPResponse, host: str) -> SourceError | None:
    """What a status means that brings no bytes; None for one that does."""
    status = response.status
    if status == 200:
        if response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity"):
            return None
        return SourceRefused(f"{host} sends the file packed, which was not asked for.", kind="invalid")
    if status == 410:
        return SourceRefused(f"The file has expired at {host}.", kind="expired", status=status)
    if status == 404:
        return SourceRefused(f"{host} does not have the file.", kind="not_found", status=status)
    if status in (401, 403):
        return SourceRefused(f"{host} does not give the file ({status}).", kind="forbidden", status=status)
    if 400 <= status < 500 and status not in (408, 409, 425, 429):
        return SourceRefused(f"{host} refuses the file ({status}).", kind="invalid", status=status)
    return SourceUnavailable(
        f"{host} answered {status} instead of the file.",
        kind="rate_limited" if status == 429 else "server_error",
        status=status,
        retry_after=_seconds(response.headers.get("retry-after", "")),
    )


def _parse(url: str) -> Url:
    """The address in its parts. Raises SourceRefused for anything but http and https, and where a user is named."""
    try:
        parts = parse_url(url)
    except (urllib3.exceptions.LocationParseError, ValueError):
        parts = Url()
    if parts.scheme not in DEFAULT_PORTS or not parts.host or parts.auth is not None:
        raise SourceRefused("The address of the file is not one to download from.", kind="address")
    return parts


def _joined(base: Url, location: str) -> str:
    try:
        # http.client reads headers as Latin-1; addresses in UTF-8 come out right this way, as browsers take them
        return urljoin(base.url, location.encode("latin-1").decode("utf-8", "replace"))
    except (ValueError, UnicodeError):
        return ""


def _origin_of(parts: Url) -> tuple[str, str, int]:
    return parts.scheme or "", (parts.host or "").lower(), _port_of(parts)


def _port_of(parts: Url) -> int:
    return parts.port or DEFAULT_PORTS[parts.scheme or "https"]


def _size_of(response: BaseHTTPResponse) -> int | None:
    text = response.headers.get("content-length", "").split(",")[0].strip()
    if response.headers.get("transfer-encoding") or not (
        text.isascii() and text.isdigit() and len(text) < 19
    ):
        return None
    return int(text)


def _media_type_of(response: BaseHTTPResponse) -> str:
    text = response.headers.get("content-type", "").split(";")[0].strip().lower()
    return text[:100] if text.isascii() and text.isprintable() else ""


def _seconds(text: str) -> float | None:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 9 else None
