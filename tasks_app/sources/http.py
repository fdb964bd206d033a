"""Sends requests to a remote with several addresses: pooled, bounded in every direction, typed errors.

It knows no product: what a status means is the adapter's business. The environment (proxies, CA bundles,
netrc) is ignored, redirects are not followed (on wish those within the origin are), and nothing secret reaches a log
or an exception.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager

from tasks_app.sources import failures
from tasks_app.sources.errors import SourceError
from tasks_app.sources.plain import build_plain_pool_class
from tasks_app.sources.tls import NotSent, Trust, build_context, build_pool_class

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""TCP and TLS on a healthy network take milliseconds; two lost SYN packets take 3 s."""
READ_SECONDS = 15.0
"""Slowest honest read seen: 5.6 s (a task list of a million rows); a 401 takes 3 s."""
WRITE_SECONDS = 40.0
"""Proxmox's own proxy gives up after 30 s; we wait longer so that its verdict reaches us."""
TOTAL_SECONDS = 60.0
"""A whole answer, however slowly it drips."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Far above any honest answer; 500 log lines are about 50 KB."""
MAX_CONNECTIONS = 5
"""Per source and process: pveproxy has three workers, and people use them too."""
CONNECT_RETRIES = 2
READ_RETRIES = 1
RETRY_PAUSE_SECONDS = 0.2
"""Between two attempts at the same address: lets a restarting daemon come up."""
CHUNK_BYTES = 64 * 1024
MAX_REDIRECTS = 3
MAX_SLASHED = 50
"""Paths of which is remembered that they lie behind a slash; lists and the like, not each task's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. Header names are lower case. `address` is the base URL that gave it."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    address: str
    elapsed_seconds: float
    clock_skew_seconds: float | None


class _Adapter(HTTPAdapter):
    """Leaves TLS to our context; requests would put its own CA bundle in."""

    def __init__(self, trust: Trust, total_seconds: float) -> None:
        self._context = build_context(trust)
        self._pool_classes: dict[str, type[HTTPConnectionPool]] = {
            "http": build_plain_pool_class(total_seconds),
            "https": build_pool_class(trust, total_seconds),
        }
        super().__init__(pool_connections=8, pool_maxsize=MAX_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self.poolmanager = PoolManager(connections, maxsize=maxsize, block=block, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        pool: HTTPConnectionPool = self.poolmanager.connection_from_url(request.url or "")
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the context is complete."""

    def close_idle(self) -> None:
        self.poolmanager.clear()


class _Session(requests.Session):
    """Follows nothing, keeps no cookies, takes nothing from the environment."""

    def __init__(self, adapter: HTTPAdapter, *, allow_http: bool) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.adapters.clear()
        self.mount("https://", adapter)
        if allow_http:
            self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, or requests would read the whole body of a redirect, without a limit, only to prepare the next."""


class HttpClient:
    """Requests to one remote at one or several base URLs (`https://host:port`), safe for many threads.

    `allow_http` permits plain `http://` base URLs. `follow_same_origin` follows up to three redirects that stay within
    scheme, host and port (a 307 or 308 keeps method and body, any other is followed for reads alone). A read that was
    sent to the same path with a slash at its end goes there at once from then on, as long as there is something.

    Stays with the address that answered last. A read (GET) that meets a connection error is repeated, at the
    next address if there is one; a write is repeated elsewhere only when it certainly was not sent.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        *,
        trust: Trust,
        headers: Mapping[str, str] | None = None,
        total_seconds: float = TOTAL_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
        connect_seconds: float = CONNECT_SECONDS,
        allow_http: bool = False,
        follow_same_origin: bool = False,
    ) -> None:
        if not urls:
            raise ValueError("A remote needs at least one address.")
        schemes = {"https", "http"} if allow_http else {"https"}
        for url in urls:
            if urlsplit(url).scheme not in schemes or "@" in url:
                raise ValueError("An address has the form https://host:port.")
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._headers = {
            "User-Agent": "task-portal",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        self._total_seconds = total_seconds
        self._max_body_bytes = max_body_bytes
        self._connect_seconds = connect_seconds
        self._adapter = _Adapter(trust, total_seconds)
        self._session = _Session(self._adapter, allow_http=allow_http)
        self._follow_same_origin = follow_same_origin
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._current = 0
        self._lock = threading.Lock()
        self._slashed: set[str] = set()

    def __repr__(self) -> str:
        return f"HttpClient({', '.join(self._urls)})"

    def close(self) -> None:
        self._session.close()

    @property
    def address(self) -> str:
        """The base URL that is asked first."""
        return self._urls[self._current]

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        data: Mapping[str, str | int] | None = None,
        json: Any = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float | None = None,
        before: Callable[[], None] | None = None,
    ) -> Answer:
        """The answer, whatever its status is, except that a redirect raises SourceNeedsPerson (303 to a write:
        OutcomeUnknown).

        Raises SourceUnavailable (dns, refused, timeout, connection, too_large), SourceNeedsPerson
        (certificate, not_proxmox when the port speaks no TLS), and OutcomeUnknown when a write lost its
        answer. `before` is called when the request's turn has come; what it raises keeps the request from
        being sent.
        """
        is_read = method == "GET"
        body = {"params": params, "data": data, "json": json, "files": files, "headers": headers}
        connects_left, reads_left = CONNECT_RETRIES, READ_RETRIES
        untried = len(self._urls) - 1
        with self._slots:
            if before is not None:
                before()
            while True:
                index = self._current
                failure = self._try_once(index, method, path, body, read_seconds)
                if isinstance(failure, Answer):
                    return failure
                error, was_sent, may_repeat = failure
                logger.debug("attempt failed address=%s kind=%s", self._urls[index], error.kind)
                if not may_repeat or (was_sent and not is_read):
                    raise error
                if was_sent:
                    reads_left -= 1
                elif untried <= 0:
                    # a connect timeout has waited long enough; a write is not tried twice at one address
                    connects_left = -1 if error.kind == "timeout" or not is_read else connects_left - 1
                if reads_left < 0 or connects_left < 0:
                    raise error
                untried -= 1
                self._move_on(index)

    def _move_on(self, failed: int) -> None:
        """Ask the next address from now on, unless another thread has already moved."""
        if len(self._urls) == 1:
            time.sleep(RETRY_PAUSE_SECONDS)
            return
        with self._lock:
            if self._current == failed:
                self._current = (failed + 1) % len(self._urls)
                self._adapter.close_idle()  # idle connections to the old address count too

    def _try_once(
        self,
        index: int,
        method: str,
        path: str,
        body: Mapping[str, Any],
        read_seconds: float | None,
    ) -> "Answer | tuple[SourceError, bool, bool]":
        """An answer, or (error, whether the request may have been sent, whether another attempt makes sense).

        Errors are returned, not raised from here, so that they carry no context with request headers in it.
        """
        address = self._urls[index]
        read_seconds = read_seconds or (READ_SECONDS if method == "GET" else WRITE_SECONDS)
        host = urlsplit(address).netloc
        started = time.monotonic()
        try:
            return self._exchange(method, address, path, body, read_seconds, started)
        except NotSent as error:
            return failures.not_connected(error.cause, host), False, failures.is_worth_repeating(error.cause)
        except failures.TooLarge:
            return failures.too_large(host, self._max_body_bytes, is_read=method == "GET"), True, False
        except failures.Redirected as error:
            may_be_done = error.is_done and method != "GET"
            return failures.redirected(host, str(error), may_be_done=may_be_done), True, False
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return failures.answer_lost(error, host, is_read=method == "GET"), True, True

    def _exchange(
        self,
        method: str,
        address: str,
        path: str,
        body: Mapping[str, Any],
        read_seconds: float,
        started: float,
    ) -> Answer:
        if method == "GET" and path in self._slashed:
            answer = self._follow(method, address, path + "/", body, read_seconds, started)
            if answer.status not in (404, 405):
                return answer
            self._slashed.discard(path)
        return self._follow(method, address, path, body, read_seconds, started)

    def _follow(
        self,
        method: str,
        address: str,
        path: str,
        body: Mapping[str, Any],
        read_seconds: float,
        started: float,
    ) -> Answer:
        url, body = address + path, {**body, "headers": {**self._headers, **(body["headers"] or {})}}
        for hop in range(MAX_REDIRECTS + 1):
            response = self._session.request(
                method,
                url,
                **body,
                timeout=(self._connect_seconds, read_seconds),
                allow_redirects=False,
                stream=True,
            )
            with response:
                target = self._target_of(response, method, url) if hop < MAX_REDIRECTS else ""
                if not target:
                    return self._read(response, method, address, started)
            is_slash = method == "GET" and urlsplit(target).path == path + "/"
            if is_slash and len(self._slashed) < MAX_SLASHED:
                self._slashed.add(path)
            url, body = target, {**body, "params": None}
        raise AssertionError("the last hop returns or raises")

    def _target_of(self, response: requests.Response, method: str, url: str) -> str:
        """Where to go on within the origin; "" when there is no redirect, or it is not to be followed."""
        if not self._follow_same_origin or not 300 <= response.status_code < 400:
            return ""
        target = urljoin(url, response.headers.get("location", ""))
        is_kept = response.status_code in (307, 308) or (method == "GET" and response.status_code != 304)
        return target if is_kept and is_same_origin(target, url) and target != url else ""

    def _read(self, response: requests.Response, method: str, address: str, started: float) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            raise failures.Redirected(headers.get("location", ""), is_done=response.status_code == 303)
        body = bytearray()
        deadline = started + self._connect_seconds + self._total_seconds
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise failures.TooLarge
            if time.monotonic() > deadline:
                raise TimeoutError
        elapsed_seconds = time.monotonic() - started
        logger.debug(
            "method=%s address=%s status=%d bytes=%d seconds=%.3f",
            method,
            address,
            response.status_code,
            len(body),
            elapsed_seconds,
        )
        return Answer(
            status=response.status_code,
            reason=response.reason or "",
            headers=headers,
            body=bytes(body),
            address=address,
            elapsed_seconds=elapsed_seconds,
            clock_skew_seconds=parse_clock_skew(headers.get("date", ""), datetime.now(UTC)),
        )


def is_same_origin(url: str, other: str) -> bool:
    """Whether both have the same scheme, host and port; never for what is no URL or names a user."""
    try:
        ours, theirs = urlsplit(url), urlsplit(other)
        ports = [part.port or {"http": 80, "https": 443}.get(part.scheme) for part in (ours, theirs)]
    except ValueError:
        return False
    if "@" in ours.netloc or not ours.hostname:
        return False
    return (ours.scheme, ours.hostname, ports[0]) == (theirs.scheme, theirs.hostname, ports[1])


def parse_clock_skew(date_header: str, now: datetime) -> float | None:
    """Seconds by which the remote's clock is ahead of `now` (negative: behind), None if it tells no time."""
    try:
        remote = parsedate_to_datetime(date_header)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if remote.tzinfo is None:
        return None
    return (remote - now).total_seconds()
