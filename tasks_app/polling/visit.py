"""One pass in progress: whom it asks, what it remembers, and how a silent node is kept from spoiling the rest."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.utils.timezone import now

from tasks_app.models import Source
from tasks_app.polling.memory import Memory
from tasks_app.polling.remote import Remote
from tasks_app.sources.errors import SourceUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Visit:
    """`should_stop` is asked between requests. Clocks are parameters so that tests need not wait."""

    source: Source
    remote: Remote
    memory: Memory
    clock: Callable[[], datetime] = now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    should_stop: Callable[[], bool] = lambda: False
    node_error: SourceUnavailable | None = field(default=None, init=False)

    def ask_node(self, node: str, call: Callable[[], T]) -> T | None:
        """The answer of `call`, which goes to `node`; None when the node does not answer, now or a moment ago.

        A 595 or a timeout behind a source that otherwise answers is about the node; its tasks stay as they are.
        """
        if self.memory.is_node_troubled(node, self.clock()):
            return None
        try:
            answer = call()
        except SourceUnavailable as error:
            self.memory.note_node_failure(node, self.clock())
            self.node_error = error
            logger.warning(
                "node does not answer source=%s node=%s kind=%s", self.source.name, node, error.kind
            )
            return None
        self.memory.trouble.pop(node, None)
        return answer
