"""One open socket as hub and reader see it: what it follows, who listens, and the newest state not sent yet."""

import asyncio
from collections.abc import Callable, Sequence

from tasks_app.live.clients import Client
from tasks_app.live.objects import Ref
from tasks_app.live.topics import object_topic
from tasks_app.live.viewers import Viewer


class SocketClient(Client):
    """Used on the event loop only.

    Whatever the hub has for it only says "look again"; the object itself is read by `live/socket.py`. Objects are
    whole, so a reader who is slow gets the newest and none in between: at most one waits.
    """

    def __init__(
        self,
        ref: Ref,
        viewer: Viewer,
        *,
        session_key: str,
        token_id: int | None,
        base_url: str,
        on_change: Callable[["SocketClient"], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        topics = frozenset({object_topic(ref.pk)}) if ref.sort == "task" else frozenset()
        super().__init__(topics, session_key, viewer, None)
        self.ref, self.base_url = ref, base_url
        self.token_id = token_id
        self.closing: tuple[int, str] | None = None  # code and reason, after what waits has been sent
        self._on_change, self._is_stopping = on_change, is_stopping
        self._shown = ""  # the last object, sent or about to be
        self._waiting = ""
        self._news = asyncio.Event()

    def offer(self, frames: Sequence[bytes]) -> None:
        """Something about the task, its person or the stream has changed, or it is time to look again."""
        self._on_change(self)

    def show(self, text: str) -> None:
        """Send `text` unless it is what was sent last."""
        if text != self._shown and self.closing is None:
            self._shown = self._waiting = text
            self._news.set()

    def close(self, code: int, reason: str = "") -> None:
        """End it after what waits. The first reason stands."""
        self.closing = self.closing or (code, reason)
        self._news.set()

    def end(self) -> None:
        """The hub ends it: the server stops, or the session or token counts no more."""
        if self._is_stopping():
            self.close(1012, "The server stops.")
        else:
            self.close(4401, "Sign in again.")

    async def take_text(self) -> str:
        """The newest object, as soon as there is one; "" when the socket is to be closed."""
        while not self._waiting and self.closing is None:
            self._news.clear()
            await self._news.wait()
        text, self._waiting = self._waiting, ""
        return text
