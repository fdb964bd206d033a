"""One open stream as the hub sees it: what it listens to, who listens, and what has not been sent yet."""

import asyncio
from collections.abc import Sequence

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
        self.token_id: int | None = None  # of who came with an API token instead
        self.viewer = viewer
        self.position = position
        self.is_served = False  # whether a pass has taken it in
        self.dropped = asyncio.Event()  # set when its queue has run over
        self._frames: list[bytes] = []
        self._queued_bytes = 0
        self._is_ending = False
        self._changed = asyncio.Event()

    def wants(self, message: Message) -> bool:
        """Whether the message is about something it listens to and its person may see."""
        return self.viewer.may_see(message.source_id, message.team_ids) and not self.topics.isdisjoint(
            message.topics
        )

    def offer(self, frames: Sequence[bytes]) -> None:
        """Queue the frames of one pass.

        When too much of earlier passes is still there, all of it is thrown away and the stream is dropped. A pass
        itself may be larger than the limit: its bytes are shared by all clients.
        """
        if self._is_ending:
            return
        if self._queued_bytes > MAX_QUEUED_BYTES:
            self._frames.clear()
            self._is_ending = True
            self.dropped.set()
        else:
            self._frames += frames
            self._queued_bytes += sum(map(len, frames))
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
