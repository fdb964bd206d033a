"""GET /live/: the raw ASGI handler. Signs in, checks the topics, then hands bytes from the hub to the browser.

Raw, because Django's own handler keeps a thread and a database connection for every open stream.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host

from tasks_app.live.clients import Client
from tasks_app.live.frames import OPENING
from tasks_app.live.hub import Hub
from tasks_app.live.topics import UnknownTopic, parse_topics, task_of
from tasks_app.live.viewers import Viewer, read_owners_of, read_viewers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SECURITY_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream
    *_SECURITY_HEADERS,
]
_MAX_POSITION_DIGITS = 18  # what fits a 64-bit id


class StreamRefused(Exception):
    """The stream is not opened; answered with `status` and the sentence as JSON."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LiveStream:
    """The ASGI application behind /live/."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            client = await self._open(scope)
        except StreamRefused as refusal:
            await _answer(send, refusal)
            return
        await self._serve(client, receive, send)

    async def _open(self, scope: Scope) -> Client:
        """A client for the request. Raises StreamRefused; queries run elsewhere and leave no connection open."""
        headers = {name.lower(): value for name, value in reversed(scope["headers"])}
        if scope["method"] != "GET":
            raise StreamRefused(405, "A stream is read with GET.")
        check_host(headers)
        check_origin(headers)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            topics = parse_topics(query.get("topics", [""])[-1])
        except UnknownTopic as error:
            raise StreamRefused(400, str(error)) from error
        position = _position(
            headers.get(b"last-event-id", b"").decode("latin-1"), query.get("after", [""])[-1]
        )
        session_key = session_key_of(headers.get(b"cookie", b""))
        if not session_key:
            raise StreamRefused(401, "Sign in first.")
        if self._hub.is_full:
            raise StreamRefused(503, "Too many streams are open.")
        task_ids = [task for topic in topics if (task := task_of(topic)) is not None]
        viewer = await self._hub.pool.run(_admit, session_key, task_ids)
        return Client(topics, session_key, viewer, position)

    async def _serve(self, client: Client, receive: Receive, send: Send) -> None:
        """Until the browser leaves, the hub ends the stream, or the browser reads too slowly."""
        self._hub.join(client)
        writing = asyncio.ensure_future(_write(client, send))
        leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
        dropped = asyncio.ensure_future(client.dropped.wait())
        try:
            await asyncio.wait([writing, leaving, dropped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(client)
            for waiting in (writing, leaving, dropped):
                waiting.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await waiting


async def _write(client: Client, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
    await send({"type": "http.response.body", "body": OPENING, "more_body": True})
    while data := await client.take():
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, refusal: StreamRefused) -> None:
    body = json.dumps({"error": {"message": str(refusal)}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *_SECURITY_HEADERS,
    ]
    if refusal.status == 405:
        headers.append((b"allow", b"GET"))
    if refusal.status == 503:
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _admit(session_key: str, task_ids: list[int]) -> Viewer:
    """The person of the session, who may see all of `task_ids`. Raises StreamRefused."""
    viewers = read_viewers([session_key])
    if session_key not in viewers:
        raise StreamRefused(401, "Sign in first.")
    viewer = viewers[session_key]
    if viewer is None:
        raise StreamRefused(403, "This account is not active.")
    if task_ids:
        owners = read_owners_of(task_ids)
        if not all(task in owners and viewer.may_see(*owners[task]) for task in task_ids):
            raise StreamRefused(404, "There is no such task.")
    return viewer


def check_host(headers: dict[bytes, bytes]) -> None:
    """Raises StreamRefused unless the portal is asked by a name of its own."""
    domain, _ = split_domain_port(_host(headers))
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        raise StreamRefused(400, "The portal is not known by this name; see PORTAL_ALLOWED_HOSTS.")


def check_origin(headers: dict[bytes, bytes]) -> None:
    """Only pages of the portal itself may listen: another site's page would do so with the visitor's cookie.

    Raises StreamRefused.
    """
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if headers.get(b"sec-fetch-site", b"") in (b"cross-site", b"same-site"):
        raise StreamRefused(403, "Other sites may not listen.")
    if origin and origin not in settings.CSRF_TRUSTED_ORIGINS and _network_location(origin) != _host(headers):
        raise StreamRefused(403, "Other sites may not listen.")


def _host(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"host", b"").decode("latin-1").lower()


def _network_location(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def session_key_of(cookie: bytes) -> str:
    """The session's key in a Cookie header; "" when there is none.

    Read as Django reads it: cookies of other programs on the same host may be anything.
    """
    return parse_cookie(cookie.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")


def _position(last_event_id: str, after: str) -> int | None:
    """The event id after which to serve: the header of a reconnecting browser wins over the address.

    Raises StreamRefused when it is not a number.
    """
    text = last_event_id or after
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_POSITION_DIGITS):
        raise StreamRefused(400, "after is the id of an event.")
    return int(text)
