"""The small form of the kill test of videos; `kill_submissions.py` has the full one and its command."""

import pytest

from tests.integration.generation.kill_submissions import run

pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]


def test_orders_whose_workers_are_killed_are_taken_at_most_once_and_none_is_lost(tmp_path, record_property):
    outcome = run(30, 4, seed=7, within=40, data_dir=tmp_path)
    record_property("outcome", str(outcome))
    assert outcome.problems == [], str(outcome)
    assert outcome.states.total() == 30
    assert outcome.states["completed"] > 0
