"""Tells a page that streams whether its reader has left: the server takes what is sent to nobody.

A page asks by calling `scope["portal.watch_reader"]`, which reaches it as `request.META["asgi.scope"]`; it gets a
function that answers at any time. Only for requests without a body: nobody else reads what comes from the reader then.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Handler = Callable[[MutableMapping[str, Any], Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]

KEY = "portal.watch_reader"


class Readers:
    """Around the pages."""

    def __init__(self, pages: Handler) -> None:
        self._pages = pages

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        has_left = threading.Event()
        watches: list[asyncio.Task[None]] = []

        def begin() -> None:
            watches.append(loop.create_task(_wait_for_leave(receive, has_left)))

        def watch() -> Callable[[], bool]:
            loop.call_soon_threadsafe(begin)
            return has_left.is_set

        try:
            await self._pages({**scope, KEY: watch}, receive, send)
        finally:
            for task in watches:
                task.cancel()


async def _wait_for_leave(receive: Receive, has_left: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    has_left.set()
