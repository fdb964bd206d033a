"""A source, a scripted remote and a function that makes one pass."""

from collections.abc import Callable

import pytest

from tasks_app.models import Source
from tasks_app.polling.memory import Memory
from tasks_app.polling.passes import PassResult, run_pass
from tasks_app.polling.visit import Visit
from tests.factories import make_source
from tests.unit.polling.scripted import ScriptedRemote

Pass = Callable[..., PassResult]


@pytest.fixture
def source(db):
    return make_source(permissions_at=None, permissions={}, last_pass_at=None)


@pytest.fixture
def remote():
    return ScriptedRemote("pve1", "pve2", "pve3")


@pytest.fixture
def visit_once(source, remote):
    memory = Memory()

    def visit(*, seconds: float = 1.0, forget: bool = False, **options) -> PassResult:
        """One pass, `seconds` after the last; `forget` as if another process made it."""
        nonlocal memory
        memory = Memory() if forget else memory
        remote.pass_time(seconds)
        fresh = Source.objects.get(pk=source.pk)
        return run_pass(
            Visit(
                fresh,
                remote,
                memory,
                clock=remote.clock,
                monotonic=lambda: 0.0,
                sleep=lambda _: None,
                **options,
            )
        )

    return visit
