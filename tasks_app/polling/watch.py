"""The watch loop: for a slice of time it claims due sources and runs their passes side by side."""

import logging
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import DatabaseError, close_old_connections
from django.utils.timezone import now

from tasks_app.connections import client_of, generation_client_of
from tasks_app.ingest import health
from tasks_app.models import Source
from tasks_app.polling import asking, cadence, leases, slots
from tasks_app.polling.errands import enqueue_errands
from tasks_app.polling.generation_pass import run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.indexing import enqueue_indexing
from tasks_app.polling.memory import Memory
from tasks_app.polling.passes import run_pass
from tasks_app.polling.pool import Pool
from tasks_app.polling.remote import Remote
from tasks_app.polling.visit import Visit
from tasks_app.sources.errors import SourceError, SourceNeedsPerson, SourceUnavailable
from tasks_app.sources.generation.base import GenerationSource

logger = logging.getLogger(__name__)

# Of this process, across slices. Stale after another process has led for a while, which costs a few requests.
_memories: dict[int, Memory] = {}
_stop = threading.Event()


def run_slice(slot: int) -> None:
    """One slice in `slot`, then the successor is enqueued. A copy that finds the slot taken exits at once.

    SIGINT and SIGTERM end the slice, and every later one in this process, within a second.
    """
    _stop_on_signals()
    if _stop.is_set():
        return
    owner = f"{socket.gethostname()[:20]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    if not slots.claim(slot, owner, now()):
        logger.debug("slot is taken slot=%d", slot)
        return
    seconds = random.uniform(*cadence.SLICE_SECONDS)  # noqa: S311
    try:
        WatchLoop(slot, owner, stop=_stop).run(seconds)
    finally:
        if not _stop.is_set():
            slots.enqueue_free(now())


def ensure_watchers() -> None:
    """Start the loop of every slot in which none lives and none is on its way."""
    slots.enqueue_free(now())


class WatchLoop:
    """One slice of one slot. `client` and `generation_client` are how a source becomes something to ask."""

    def __init__(
        self,
        slot: int,
        owner: str,
        *,
        stop: threading.Event,
        client: Callable[[Source], Remote] = client_of,
        generation_client: Callable[[Source], GenerationSource] = generation_client_of,
        memories: dict[int, Memory] | None = None,
    ) -> None:
        self.slot, self.owner = slot, owner
        self._stop, self._client, self._generation_client = stop, client, generation_client
        self._memories = _memories if memories is None else memories
        self._ended = threading.Event()
        self._lost: set[int] = set()  # sources whose lease went to somebody else while we visited
        self._running: set[int] = set()
        self._lock = threading.Lock()
        self._pool = Pool(cadence.THREADS)
        self._is_leading = False

    def run(self, seconds: float) -> None:
        """Until `seconds` have passed, the stop event is set, or the slot is lost."""
        end = time.monotonic() + seconds
        next_renewal = next_look = next_errands = 0.0
        try:
            while not self._stop.is_set() and time.monotonic() < end:
                close_old_connections()
                if time.monotonic() >= next_renewal:
                    next_renewal = time.monotonic() + cadence.RENEW_SECONDS
                    if not self._renew():
                        logger.warning("slot was taken over slot=%d", self.slot)
                        break
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + cadence.LOOK_AFTER_SECONDS
                    slots.enqueue_free(now())
                if self._is_leading and time.monotonic() >= next_errands:
                    next_errands = time.monotonic() + cadence.ERRANDS_SECONDS
                    enqueue_errands(now())
                    enqueue_indexing(now())
                if not self._is_leading:  # a leader that ends gives way between two renewals
                    self._is_leading = slots.leads(self.slot, now())
                self._visit_due()
                self._stop.wait(cadence.TICK_SECONDS if self._is_leading else cadence.STANDBY_TICK_SECONDS)
        finally:
            self._finish()

    def _renew(self) -> bool:
        at = now()
        is_ours = slots.renew(self.slot, self.owner, at)
        self._is_leading = is_ours and slots.leads(self.slot, at)
        with self._lock:
            running = set(self._running)
        if running:
            self._lost |= running - leases.renew(running, self.owner, at)
        return is_ours

    def _visit_due(self) -> None:
        at = now()
        for source_pk in leases.due_sources(at, is_leading=self._is_leading):
            with self._lock:
                if source_pk in self._running or len(self._running) >= cadence.THREADS:
                    continue
            source = leases.claim(source_pk, self.owner, at)
            if source is None:
                continue
            with self._lock:
                self._running.add(source_pk)
            self._lost.discard(source_pk)
            self._pool.submit(partial(self._visit, source))

    def _visit(self, source: Source) -> None:
        try:
            visit_source(
                source,
                self.owner,
                self._client,
                self._memories,
                lambda: self._is_over(source.pk),
                generation_client=self._generation_client,
            )
        finally:
            with self._lock:
                self._running.discard(source.pk)

    def _is_over(self, source_pk: int) -> bool:
        return self._ended.is_set() or self._stop.is_set() or source_pk in self._lost

    def _finish(self) -> None:
        """Passes stop between two requests; one that hangs is left to its daemon thread, without its lease.

        The slot is given back first: the standby leads from its next tick on, while our passes still hold their
        sources.
        """
        slots.release(self.slot, self.owner)
        self._ended.set()
        self._pool.close(0.6)
        leases.release_all(self.owner)


def visit_source(
    source: Source,
    owner: str,
    client: Callable[[Source], Remote],
    memories: dict[int, Memory],
    should_stop: Callable[[], bool],
    *,
    generation_client: Callable[[Source], GenerationSource] = generation_client_of,
) -> None:
    """Run one pass over a claimed source and note how it went. A failure is the source's, never a task's."""
    memory = memories.setdefault(source.pk, Memory())
    try:
        if source.is_generation:
            _visit_generation(source, owner, generation_client, memory, should_stop)
        else:
            _visit_cluster(source, owner, client, memory, should_stop)
    except SourceError as error:
        _note_failure(source, error, owner)
    except (DatabaseError, MemoryError):
        raise  # ours, not the source's: the lease runs out and another pass tries again
    except Exception:
        # An answer nobody thought of must not stop the loop, and must not be asked for every 5 s either.
        logger.exception("pass failed source=%s", source.name)
        _note_failure(source, SourceUnavailable("The pass failed; the log says why.", kind="garbage"), owner)


def _visit_cluster(
    source: Source,
    owner: str,
    client: Callable[[Source], Remote],
    memory: Memory,
    should_stop: Callable[[], bool],
) -> None:
    began = now()
    remote = client(source)
    result = run_pass(Visit(source, remote, memory, should_stop=should_stop))
    wait = cadence.ACTIVE if result.is_active else cadence.IDLE
    due = began if result.has_more else began + wait
    health.record_pass(
        source, owner=owner, at=now(), latency_seconds=remote.latency_seconds, next_pass_at=due
    )


def _visit_generation(
    source: Source,
    owner: str,
    client: Callable[[Source], GenerationSource],
    memory: Memory,
    should_stop: Callable[[], bool],
) -> None:
    try:
        remote = client(source)
    except ValueError as error:
        raise SourceNeedsPerson(
            f"The settings of this source make no sense: {error}", kind="settings"
        ) from error
    visit = GenerationVisit(source, remote, memory.generation, should_stop=should_stop)
    result = run_generation_pass(visit)
    if not result.has_answered:
        health.release_pass(source, owner=owner, next_pass_at=result.next_pass_at)
        return
    health.record_pass(
        source,
        owner=owner,
        at=now(),
        latency_seconds=remote.latency_seconds,
        next_pass_at=result.next_pass_at,
    )
    if source.first_synced_at is None:
        health.record_first_sync(source, at=now())


def _note_failure(source: Source, error: SourceError, owner: str) -> None:
    wait = cadence.backoff(source.failures + 1, needs_person=isinstance(error, SourceNeedsPerson))
    if error.retry_after is not None:
        wait = max(wait, min(cadence.MOST_BACKOFF, wait.__class__(seconds=max(0.0, error.retry_after))))
    if source.is_generation and isinstance(error, SourceNeedsPerson):
        wait = timedelta(seconds=asking.spread(asking.CREDENTIALS_SECONDS, random.random()))  # noqa: S311
    at: datetime = now()
    logger.warning(
        "pass failed source=%s kind=%s failures=%d next_seconds=%.0f",
        source.name,
        error.kind,
        source.failures + 1,
        wait.total_seconds(),
    )
    health.record_failure(source, error, owner=owner, at=at, next_pass_at=at + wait)


def _stop_on_signals() -> None:
    """django-q2's workers inherit an ignored SIGINT, by which the cluster is stopped; the handler stays for good."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stop.set())
