"""A generation source in memory: does what a test prepared, counts calls. Opens no socket."""

import threading
from collections.abc import Callable
from typing import Any

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    Capabilities,
    GenerationObservation,
    Offer,
    Parameter,
)
from tasks_app.states import State

OFFERS = (
    Offer(
        "clip",
        "video",
        "Clip",
        (
            Parameter("prompt", "Prompt", "long_text", required=True),
            Parameter("seconds", "Duration", "integer", default=5, minimum=1, maximum=10),
        ),
    ),
    Offer(
        "picture",
        "image",
        "Picture",
        (
            Parameter("prompt", "Prompt", "long_text", required=True),
            Parameter("first_image", "First picture", "image", required=True),
            Parameter("mask", "Mask", "image"),
        ),
    ),
)


class FakeGeneration:
    """`fails` maps a method to errors it raises, one a call. `loses`: submits take the order and lose the answer."""

    def __init__(self, **capabilities: Any) -> None:
        self.capabilities = Capabilities(**({"lists": True, "cancel_running": True} | capabilities))
        self.offers = OFFERS
        self.latency_seconds = 0.005
        self.calls: list[tuple[Any, ...]] = []
        self.fails: dict[str, list[Exception]] = {}
        self.tasks: dict[str, GenerationObservation] = {}
        self.orders: dict[str, Any] = {}  # remote id → order
        self.cancel_answer = CancelAnswer.REQUESTED
        self.before_answer: Callable[[], object] = lambda: None
        self.known: frozenset[str] = frozenset()  # of the last find
        self._lock = threading.Lock()

    def count(self, method: str) -> int:
        return sum(call[0] == method for call in self.calls)

    def show(self, remote_id: str, state: State, **told: Any) -> GenerationObservation:
        """Let the remote have this task in this state."""
        self.tasks[remote_id] = GenerationObservation(remote_id, state, **told)
        return self.tasks[remote_id]

    def submit(self, order: Any) -> Accepted:
        with self._lock:
            self.calls.append(("submit", order))
            remote_id = f"vid_{len(self.orders) + 1:06d}"
        self._fail("submit")
        with self._lock:
            self.orders[remote_id] = order
        seen = self.show(remote_id, State.PENDING)
        self.before_answer()
        self._fail("answer")
        return Accepted(seen, {"id": remote_id})

    def find(self, order: Any, known: Any = ()) -> GenerationObservation | None:
        self.calls.append(("find", order))
        self.known = frozenset(known)
        self._fail("find")
        return next(
            (
                self.tasks[remote_id]
                for remote_id, made in self.orders.items()
                if made.own_id == order.own_id and remote_id not in known
            ),
            None,
        )

    def fetch(self, handle: Any) -> GenerationObservation:
        self.calls.append(("fetch", handle["id"]))
        self._fail("fetch")
        if handle["id"] not in self.tasks:
            raise SourceRefused("There is no such task.", kind="not_found", status=404)
        return self.tasks[handle["id"]]

    def cancel(self, handle: Any) -> CancelAnswer:
        self.calls.append(("cancel", handle["id"]))
        self._fail("cancel")
        return self.cancel_answer

    def handle_of(self, remote_id: str) -> dict[str, Any]:
        return {"id": remote_id}

    def close(self) -> None:
        """Nothing is open."""

    def _fail(self, method: str) -> None:
        waiting = self.fails.get(method)
        if waiting:
            raise waiting.pop(0)
