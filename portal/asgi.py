"""The web process as ASGI: /live/ is the live stream, /ws/ the sockets, all else Django as WSGI in eight threads."""

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware

from portal.addresses import address_of
from portal.files import Files
from portal.readers import Readers

# First: it names the settings and sets Django up, which what follows needs.
from portal.wsgi import application as pages
from tasks_app.audit.context import Origin, set_origin
from tasks_app.live.hub import RECHECK_SECONDS, Hub
from tasks_app.live.socket import TaskSockets
from tasks_app.live.stream import LiveStream
from tasks_app.models import ApiToken
from tasks_app.services.api_tokens import TokenRefused, check_token

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_THREADS = 8  # two cores answer no faster with more


class Application:
    """Sends each request to whom it belongs. `hub` is for the server, which ends the streams before it stops."""

    def __init__(self, *, recheck_seconds: float = RECHECK_SECONDS) -> None:
        self.hub = Hub(recheck_seconds=recheck_seconds)
        self._live = LiveStream(self.hub)
        self._sockets = TaskSockets(self.hub, _sign_in)
        # The cast: a2wsgi has types of its own for what the standards leave open.
        wsgi = cast(Handler, WSGIMiddleware(cast(Any, pages), workers=PAGE_THREADS))
        self._pages = Files(Readers(wsgi))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live_through(receive, send)
        elif scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        elif scope["path"] == "/live/":
            await self._live(scope, receive, send)
        else:
            await self._pages(without_underscores(scope), receive, send)

    async def _live_through(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.hub.close()
        await send({"type": "lifespan.shutdown.complete"})


def _sign_in(scope: Scope, token: str) -> ApiToken | None:
    """Who a token belongs to, None for nobody; counted and audited as in the API."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
    agent = headers.get(b"user-agent", b"").decode("latin-1")
    set_origin(Origin(uuid.uuid4().hex, address_of(forwarded, (scope.get("client") or ("", 0))[0]), agent))
    try:
        return check_token(token)
    except TokenRefused:
        return None


def without_underscores(scope: Scope) -> Scope:
    """The request without header names that hold an underscore.

    In WSGI they become the same variable as the name with a dash, so a client could forge what a proxy says.
    """
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if b"_" not in name]}


application = Application()
