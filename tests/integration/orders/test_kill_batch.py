"""The small form of the kill test; `kill_batch.py` has the full one and its command."""

import pytest

from tests.integration.orders.kill_batch import run

pytestmark = [pytest.mark.kills, pytest.mark.timeout(420)]


def test_a_batch_whose_workers_are_killed_is_made_exactly_once(tmp_path, record_property):
    outcome = run(8, 4, seed=7, time_scale=0.3, within=240, data_dir=tmp_path)
    record_property("outcome", str(outcome))
    assert outcome.problems == [], str(outcome)
    assert outcome.stages == {"ready": 8}
