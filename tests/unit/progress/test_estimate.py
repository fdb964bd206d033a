"""What is usual among earlier runs, and how it is said."""

import pytest

from tasks_app.progress.estimate import Usual, format_usual, usual_duration


def test_below_three_runs_nothing_is_usual():
    assert usual_duration([]) is None
    assert usual_duration([20, 30]) is None
    assert usual_duration([20, 30, float("nan"), -1, float("inf")]) is None


def test_accidents_at_the_ends_do_not_count():
    usual = usual_duration([*range(20, 41), 5000, 0.1])
    assert usual is not None
    assert (usual.median, usual.runs) == (30, 23)
    assert 20 <= usual.low < 23 and 37 < usual.high <= 40


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (20, 40, "usually 20–40 s (last 30 runs)"),
        (20.1, 20.4, "usually about 20 s (last 30 runs)"),
        (0.1, 0.4, "usually under 1 s (last 30 runs)"),
        (0.1, 4, "usually up to 4 s (last 30 runs)"),
        (50, 200, "usually 50 s – 3 min (last 30 runs)"),
        (124, 366, "usually 2–6 min (last 30 runs)"),
        (7200, 9000, "usually 2–2.5 h (last 30 runs)"),
    ],
)
def test_words_for_what_is_usual(low, high, text):
    assert format_usual(Usual(low, high, (low + high) / 2, 30)) == text
