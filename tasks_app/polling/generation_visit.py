"""One pass over a generation source in progress: whom it asks, what it may still ask, what came of it."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import DatabaseError
from django.utils.timezone import now

from tasks_app.models import Source
from tasks_app.polling import asking
from tasks_app.polling.memory import GenerationMemory
from tasks_app.sources.errors import SourceError, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import GenerationSource
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class GenerationVisit:
    """`should_stop` is asked between requests. Clocks and chance are parameters so that tests need not wait."""

    source: Source
    remote: GenerationSource
    memory: GenerationMemory
    clock: Callable[[], datetime] = now
    monotonic: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    should_stop: Callable[[], bool] = lambda: False
    has_asked: bool = field(default=False, init=False)
    has_answered: bool = field(default=False, init=False)
    has_ended: bool = field(default=False, init=False)  # a task of ours: its place is free, its result waits
    told_seconds: float | None = field(default=None, init=False)  # Retry-After of the last bad answer

    def ask(self, call: Callable[[], T]) -> T | None:
        """The answer of `call`; None when it was bad: 429, 5xx, dropped, malformed. No task changes then.

        Raises SourceRefused (it did answer), SourceNeedsPerson, and the last bad answer of BAD_IN_A_ROW: then the
        source as a whole is unreachable.
        """
        self.has_asked, self.told_seconds = True, None
        try:
            answer = call()
        except SourceRefused:
            self._answered()
            raise
        except SourceNeedsPerson:
            raise
        except SourceError as error:
            self._bad(error)
            return None
        except (DatabaseError, MemoryError):
            raise  # ours, not the remote's
        except Exception:
            # An answer nobody thought of: it must stop neither the other tasks nor the source.
            logger.exception("answer not understood source=%s", self.source.name)
            self._bad(SourceUnavailable("The answer was not understood; the log says why.", kind="garbage"))
            return None
        self._answered()
        return answer

    def note_end(self, has_changed: bool, state: State | None) -> None:
        """Remember that a task of ours has ended in this pass, if it has."""
        if has_changed and state in FINAL_STATES:
            self.has_ended = True

    @property
    def is_resting(self) -> bool:
        """Whether the remote has asked for a rest."""
        until = self.memory.rest_until
        return until is not None and until > self.clock()

    def _answered(self) -> None:
        self.has_answered = True
        self.memory.answered_at = self.clock()
        self.memory.bad_in_a_row = 0
        self.memory.rest_until = None

    def _bad(self, error: SourceError) -> None:
        memory = self.memory
        memory.bad_in_a_row += 1
        self.told_seconds = error.retry_after
        logger.info(
            "bad answer source=%s kind=%s in_a_row=%d", self.source.name, error.kind, memory.bad_in_a_row
        )
        if error.kind == "rate_limited":
            asked = asking.Asked(
                asking.Answer.BAD, bad_answers=memory.bad_in_a_row, told_seconds=error.retry_after
            )
            rest = asking.next_question(asked, self.chance()).seconds
            memory.rest_until = self.clock() + timedelta(seconds=rest)
        if memory.bad_in_a_row >= asking.BAD_IN_A_ROW:
            raise error
