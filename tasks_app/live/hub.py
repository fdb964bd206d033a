"""The hub: all open streams of this web process, and the loop that feeds them.

Everything here runs on the event loop, so there are no locks; the feed itself runs in a thread of its own.
"""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tasks_app.live.clients import Client
from tasks_app.live.feed import Feed, Pass
from tasks_app.live.frames import format_beat, format_frame
from tasks_app.live.parts import Message
from tasks_app.live.viewers import DatabasePool, read_token_viewers, read_viewers

logger = logging.getLogger(__name__)

PASS_SECONDS = 0.25  # also what keeps the progress of a task at four a second
BEAT_SECONDS = 15.0  # below the 30 to 60 s after which proxies cut a silent connection
RECHECK_SECONDS = 20.0  # sessions and roles of all listeners; a minute is promised
RETRY_SECONDS = 1.0  # after a pass failed, most likely because the database refused
MAX_FRAMES = 500  # for one client in one pass; above that one request for the page is cheaper than its parts
MAX_CLIENTS = 5000  # in one process; far above the 1,000 it is made for


class Hub:
    """Open streams by topic. The feed runs while there is at least one."""

    def __init__(self, *, recheck_seconds: float = RECHECK_SECONDS) -> None:
        self.pool = DatabasePool()
        self._recheck_seconds = recheck_seconds
        self._clients: set[Client] = set()
        self._by_topic: dict[str, set[Client]] = {}
        self._joining: list[Client] = []
        self._head = 0
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def size(self) -> int:
        """Number of open streams."""
        return len(self._clients)

    @property
    def is_full(self) -> bool:
        """Whether another stream must be refused."""
        return self._is_closing or self.size >= MAX_CLIENTS

    @property
    def is_closing(self) -> bool:
        """Whether the server stops."""
        return self._is_closing

    @property
    def is_resting(self) -> bool:
        """Whether nobody listens and the feed has stopped."""
        return self._task is None

    def join(self, client: Client) -> None:
        """Take in a client; the next pass gives it what it has missed."""
        self._clients.add(client)
        self._joining.append(client)
        for topic in client.topics:
            self._by_topic.setdefault(topic, set()).add(client)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def leave(self, client: Client) -> None:
        """Forget a client whose stream has ended."""
        self._clients.discard(client)
        for topic in client.topics:
            listeners = self._by_topic.get(topic, set())
            listeners.discard(client)
            if not listeners:
                self._by_topic.pop(topic, None)

    async def close(self) -> None:
        """End all streams and the feed. Returns when their last bytes are handed over, at most 0.5 s later."""
        self._is_closing = True
        for client in self._clients:
            client.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.3)
        for _ in range(20):
            if not self._clients:
                break
            await asyncio.sleep(0.01)
        self.pool.close()

    async def _follow(self) -> None:
        """Passes, beats and checks of sessions until the last client has left."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="live-feed")
        feed = Feed()
        beat_at, check_at = loop.time() + BEAT_SECONDS, loop.time() + self._recheck_seconds
        try:
            while self._clients:
                started_at, pause = loop.time(), PASS_SECONDS
                joining = [client for client in self._joining if client in self._clients]
                self._joining = []
                try:
                    positions = [client.position for client in joining]
                    result = await loop.run_in_executor(
                        thread, feed.run_pass, frozenset(self._by_topic), positions
                    )
                    self._distribute(result, joining)
                    # A beat says that the feed lives, so it comes from here: while the database does not answer,
                    # pages see silence and show it.
                    if loop.time() >= beat_at:
                        self._beat()
                        beat_at = loop.time() + BEAT_SECONDS
                    if loop.time() >= check_at:
                        await self._check_viewers()
                        check_at = loop.time() + self._recheck_seconds
                except Exception:
                    logger.warning("live pass failed, starting again", exc_info=True)
                    await loop.run_in_executor(thread, feed.close)
                    feed = Feed()
                    self._serve_again(joining)
                    pause = RETRY_SECONDS
                await asyncio.sleep(max(0.0, pause - (loop.time() - started_at)))
        finally:
            self._task = None
            await loop.run_in_executor(thread, feed.close)
            thread.shutdown(wait=False)

    def _distribute(self, result: Pass, joining: list[Client]) -> None:
        self._head = result.head
        reload = format_frame("reload", {}, event_id=result.head)
        frames: dict[Client, list[bytes]] = {}
        for message in result.messages:
            for client in self._listeners(message):
                frames.setdefault(client, []).append(message.frame)
        for client, due in frames.items():
            client.offer(due if len(due) <= MAX_FRAMES else [reload])
        for client, missed in zip(joining, result.replays, strict=True):
            client.is_served = True
            due = [reload] if missed is None else [m.frame for m in missed if client.wants(m)]
            client.offer([*(due if len(due) <= MAX_FRAMES else [reload]), format_beat(event_id=result.head)])

    def _listeners(self, message: Message) -> Iterator[Client]:
        """Each served client that wants the message, once."""
        sets = [self._by_topic[topic] for topic in message.topics if topic in self._by_topic]
        for client in set().union(*sets) if len(sets) > 1 else sets[0] if sets else ():
            if client.is_served and client.viewer.may_see(message.source_id, message.team_ids):
                yield client

    def _serve_again(self, joining: list[Client]) -> None:
        """After a failed pass: everybody comes in again from where they were, so nothing is lost."""
        for client in self._clients:
            if client.is_served:
                client.is_served = False
                client.position = self._head
                self._joining.append(client)
        self._joining += [client for client in joining if client not in self._joining]

    def _beat(self) -> None:
        beat = format_beat()
        for client in self._clients:
            client.offer([beat])

    async def _check_viewers(self) -> None:
        """Read sessions, tokens and roles again. Who lost something asks for the page again and finds what is left."""
        clients = list(self._clients)
        viewers = await self.pool.run(read_viewers, {c.session_key for c in clients if c.session_key})
        tokens = {client.token_id for client in clients if client.token_id is not None}
        by_token = await self.pool.run(read_token_viewers, tokens) if tokens else {}
        reload = format_frame("reload", {}, event_id=self._head)
        for client in clients:
            token_id = client.token_id
            viewer = viewers.get(client.session_key) if token_id is None else by_token.get(token_id)
            if viewer is None:
                client.offer([reload])
                client.end()
            elif viewer != client.viewer:
                client.viewer = viewer
                client.offer([reload])
