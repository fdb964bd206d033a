"""One open stream as the hub sees it: what it listens to, who listens, and what has not been sent yet."""

import asyncio
from collections import deque
from collections.abc import Iterable

from tasks_app.live.parts import Message
from tasks_app.live.viewers import Viewer

MAX_QUEUED_BYTES = 512 * 1024  # a client that lets this much pile up is dropped; it comes back and resumes


class Client:
    """Used on the event loop only. `position` is the event id after which it wants to be served, None for now."""

    def __init__(
        self, topics: frozenset[str], session_key: str, viewer: Viewer, position: int | None
    ) -> None:
        self.topics = topics
        self.session_key = session_key
        self.viewer = viewer
        self.position = position
        self.is_served = False  # whether a pass has taken it in
        self.dropped = asyncio.Event()  # set when its queue has run over
        self._frames: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_ending = False
        self._changed = asyncio.Event()

    def wants(self, message: Message) -> bool:
        """Whether the message is about something it listens to and its person may see."""
        return self.viewer.may_see(message.source_id) and not self.topics.isdisjoint(message.topics)

    def offer(self, frames: Iterable[bytes], *, is_bounded: bool = True) -> None:
        """Queue frames. When the queue runs over, all of it is thrown away and the stream is dropped."""
        if self._is_ending:
            return
        for frame in frames:
            self._frames.append(frame)
            self._queued_bytes += len(frame)
        if is_bounded and self._queued_bytes > MAX_QUEUED_BYTES:
            self._frames.clear()
            self._is_ending = True
            self.dropped.set()
        self._changed.set()

    def end(self) -> None:
        """End the stream after what is queued."""
        self._is_ending = True
        self._changed.set()

    async def take(self) -> bytes:
        """Everything that is queued, as soon as there is something; b"" when the stream is to end."""
        while not self._frames and not self._is_ending:
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._frames)
        self._frames.clear()
        self._queued_bytes = 0
        return data
