"""/ws/tasks/{task_id}: a task's object at once and on every change, as a raw ASGI handler.

Closes with 1000 after the final object, 4401 without a person, 4404 for what is unknown or invisible, 4429 when one
person has too many, 1012 when the server stops. An open socket holds neither a thread nor a database connection: the
hub says when to look, and one reader looks for all of them together.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

from django.conf import settings
from django.contrib.auth.models import User

from tasks_app.access.tokens import given_token
from tasks_app.live.hub import Hub
from tasks_app.live.objects import Ref, Snapshot, find_ref, read_snapshots
from tasks_app.live.socket_clients import SocketClient
from tasks_app.live.stream import (
    Receive,
    Scope,
    Send,
    StreamRefused,
    check_host,
    check_origin,
    session_key_of,
)
from tasks_app.live.viewers import Viewer, read_token_viewers, read_viewers
from tasks_app.models import ApiToken

logger = logging.getLogger(__name__)

PREFIX = "/ws/tasks/"
PROTOCOL = "task-portal.v1"
TOKEN_PROTOCOL = "bearer."  # noqa: S105
MAX_PER_PERSON = 100
MAX_MESSAGES = 100  # from a client: nothing is expected of it
PASS_SECONDS = 0.1  # changes in between are read together
ORDER_SECONDS = 2.0  # an order has no events of its own
RETRY_SECONDS = 1.0

SignIn = Callable[[Scope, str], ApiToken | None]
"""The row of a token that counts; notes its use or the refusal. Runs in a thread with a database connection."""


class SocketRefused(Exception):
    """Closed with `code` after the handshake, which a browser can read; `code` 0 refuses the handshake itself."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class TaskSockets:
    """The ASGI application behind /ws/. `sign_in` knows tokens."""

    def __init__(self, hub: Hub, sign_in: SignIn) -> None:
        self._hub, self._sign_in = hub, sign_in
        self._clients: set[SocketClient] = set()
        self._dirty: set[SocketClient] = set()
        self._wake = asyncio.Event()
        self._persons: Counter[int] = Counter()
        self._reader: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Number of open sockets."""
        return len(self._clients)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        try:
            client, first = await self._open(scope)
        except SocketRefused as refusal:
            if refusal.code:
                await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
            await send({"type": "websocket.close", "code": refusal.code or 1000, "reason": str(refusal)})
            return
        self._join(client)
        try:
            await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
            self._tell(client, first)
            await _serve(client, receive, send)
        finally:
            self._leave(client)

    async def _open(self, scope: Scope) -> tuple[SocketClient, Snapshot]:
        """A client and what it follows. Raises SocketRefused."""
        headers = {name.lower(): value for name, value in reversed(scope["headers"])}
        try:
            check_host(headers)
        except StreamRefused as refusal:
            raise SocketRefused(0, str(refusal)) from refusal
        path = str(scope["path"])
        if not path.startswith(PREFIX):
            raise SocketRefused(4404, "There is nothing here.")
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if not {"token", "access_token"}.isdisjoint(query):
            raise SocketRefused(4400, "Tokens in addresses end up in logs. Use a header or a subprotocol.")
        if self._hub.is_full:
            raise SocketRefused(1013, "Too many are open.")
        token = _token_of(scope, headers)
        session_key = "" if token is not None else session_key_of(headers.get(b"cookie", b""))
        if session_key:
            try:
                check_origin(headers)
            except StreamRefused as refusal:
                raise SocketRefused(0, str(refusal)) from refusal
        elif token is None:
            raise SocketRefused(4401, "Sign in first, or send a token.")
        task_id = unquote(path.removeprefix(PREFIX)).rstrip("/")
        ref, viewer, token_id, snapshot = await self._hub.pool.run(
            self._admit, scope, session_key, token, task_id
        )
        if self._persons[viewer.user_id] >= MAX_PER_PERSON:
            raise SocketRefused(4429, f"At most {MAX_PER_PERSON} sockets for one person.")
        client = SocketClient(
            ref,
            viewer,
            session_key=session_key,
            token_id=token_id,
            base_url=_base_url(scope, headers),
            on_change=self._mark,
            is_stopping=lambda: self._hub.is_closing,
        )
        return client, snapshot

    def _admit(
        self, scope: Scope, session_key: str, token: str | None, task_id: str
    ) -> tuple[Ref, Viewer, int | None, Snapshot]:
        """Who it is and what they ask for; in a thread. Raises SocketRefused."""
        viewer, token_id = None, None
        if token is not None:
            row = self._sign_in(scope, token)
            if row is not None:
                token_id = row.pk
                viewer = read_token_viewers([row.pk]).get(row.pk)
        else:
            viewer = read_viewers([session_key]).get(session_key)
        if viewer is None:
            raise SocketRefused(4401, "Sign in first, or send a token that counts.")
        ref = find_ref(task_id, User.objects.get(pk=viewer.user_id))
        snapshot = read_snapshots([ref]).get(ref) if ref is not None else None
        if ref is None or snapshot is None:
            raise SocketRefused(4404, "Task not found")
        if snapshot.is_expired:
            raise SocketRefused(4404, "Task expired")
        return ref, viewer, token_id, snapshot

    # following

    def _join(self, client: SocketClient) -> None:
        self._clients.add(client)
        self._persons[client.viewer.user_id] += 1
        self._hub.join(client)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())

    def _leave(self, client: SocketClient) -> None:
        self._hub.leave(client)
        self._clients.discard(client)
        self._dirty.discard(client)
        self._persons[client.viewer.user_id] -= 1
        self._persons += Counter()  # forgets who has none
        if not self._clients:
            self._wake.set()

    def _mark(self, client: SocketClient) -> None:
        self._dirty.add(client)
        self._wake.set()

    async def _read(self) -> None:
        """Until the last socket is closed: what has changed, for all that were told so, in one go."""
        try:
            while self._clients and not self._hub.is_closing:
                has_orders = any(client.ref.sort != "task" for client in self._clients)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), ORDER_SECONDS if has_orders else None)
                self._wake.clear()
                due = {client for client in self._clients if client.ref.sort != "task"} | self._dirty
                self._dirty = set()
                pause = PASS_SECONDS
                try:
                    found = await self._hub.pool.run(read_snapshots, {client.ref for client in due})
                except Exception:
                    logger.warning("sockets not read, trying again", exc_info=True)
                    self._dirty |= due & self._clients
                    self._wake.set()
                    pause = RETRY_SECONDS
                else:
                    for client in due & self._clients:
                        self._tell(client, found.get(client.ref))
                await asyncio.sleep(pause)
        finally:
            self._reader = None

    def _tell(self, client: SocketClient, snapshot: Snapshot | None) -> None:
        if snapshot is None or not client.viewer.may_see(snapshot.source_id, snapshot.team_ids):
            client.close(4404, "Task not found")
        elif snapshot.is_expired:
            client.close(4404, "Task expired")
        else:
            client.show(json.dumps(snapshot.tell(client.base_url)))
            if snapshot.is_settled:
                client.close(1000, "It has ended.")


async def _serve(client: SocketClient, receive: Receive, send: Send) -> None:
    """Until the client leaves or the socket is to be closed."""
    writing = asyncio.ensure_future(_write(client, send))
    leaving = asyncio.ensure_future(_listen(client, receive))
    try:
        await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in (writing, leaving):
            waiting.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await waiting


async def _write(client: SocketClient, send: Send) -> None:
    while text := await client.take_text():
        await send({"type": "websocket.send", "text": text})
    code, reason = client.closing or (1000, "")
    await send({"type": "websocket.close", "code": code, "reason": reason})


async def _listen(client: SocketClient, receive: Receive) -> None:
    """Nothing is expected; who talks on and on is shown out."""
    messages = 0
    while (await receive())["type"] != "websocket.disconnect":
        messages += 1
        if messages > MAX_MESSAGES:
            client.close(1008, "This socket only tells.")
            await asyncio.Event().wait()  # the writer closes


def _token_of(scope: Scope, headers: dict[bytes, bytes]) -> str | None:
    """From the Authorization header, else from a subprotocol, which is what a browser can send."""
    token = given_token(headers.get(b"authorization", b"").decode("latin-1"))
    if token is not None:
        return token
    for protocol in scope.get("subprotocols", []):
        if protocol.startswith(TOKEN_PROTOCOL):
            return str(protocol).removeprefix(TOKEN_PROTOCOL)
    return None


def _subprotocol(scope: Scope) -> str | None:
    """A browser that offers some needs one of them back: ours, so that the token is not repeated, else its first."""
    offered: list[Any] = scope.get("subprotocols", [])
    if PROTOCOL in offered:
        return PROTOCOL
    return str(offered[0]) if offered else None


def _base_url(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """As the client reaches the portal by HTTP."""
    is_secure = scope.get("scheme") in ("wss", "https")
    if settings.BEHIND_PROXY:
        is_secure = headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
    host = headers.get(b"host", b"").decode("latin-1").lower()
    return f"{'https' if is_secure else 'http'}://{host}"
