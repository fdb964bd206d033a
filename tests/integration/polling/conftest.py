"""The watch loop against the demo cluster, over HTTPS as in real life."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connections
from django.utils.timezone import now

from demo.proxmox import DemoCluster
from tasks_app.connections import seal
from tasks_app.models import Source
from tasks_app.polling import slots, watch


@pytest.fixture
def cluster():
    with DemoCluster(life=False) as running:
        yield running


@pytest.fixture
def source(transactional_db, cluster):
    return Source.objects.create(
        name="demo",
        urls=[cluster.url],
        fingerprints=[cluster.fingerprint],
        token_id=cluster.token_id,
        token_secret_sealed=seal(cluster.token_secret),
    )


@contextmanager
def watching(slot: int = 0) -> Iterator[None]:
    """A loop in `slot` runs in a thread while the block does."""
    stop, owner = threading.Event(), f"loop-{slot}-{time.monotonic()}"

    def run() -> None:
        try:
            assert slots.claim(slot, owner, now())
            watch.WatchLoop(slot, owner, stop=stop, memories={}).run(110)
            slots.release(slot, owner)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.05)
