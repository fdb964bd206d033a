"""When the supervisor starts a process again."""

import signal
import sys

import pytest

from portal.supervisor.child import Child


def make_child(code: str, *, once: bool) -> Child:
    child = Child("test", [sys.executable, "-c", code], once=once)
    child.start()
    return child


def tended(child: Child) -> bool:
    """Whether `tend` starts it again, once it has ended and its pause is over."""
    child.process.wait(20)
    child.pause = 0.0
    return child.tend()


@pytest.mark.parametrize("code", ["pass", "raise SystemExit(1)"], ids=["well", "badly"])
def test_what_runs_once_is_left_alone_when_it_has_ended(code):
    assert not tended(make_child(code, once=True))


def test_what_runs_once_goes_on_when_it_was_killed():
    child = make_child("import time; time.sleep(60)", once=True)
    child.signal_group(signal.SIGKILL)
    assert tended(child)
    child.signal_group(signal.SIGKILL)
    child.process.wait(20)


def test_anything_else_is_always_started_again():
    child = make_child("pass", once=False)
    assert tended(child)
    child.process.wait(20)
