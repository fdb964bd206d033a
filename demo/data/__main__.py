"""`python -m demo.data --end 1795000000`: the made-up past, newest task first, each as one line of JSON.

A line has `row` (as the task list of its node shows it), `log` (all its lines) and `note` (what somebody wrote down
about the failure; "" mostly).
"""

import argparse
import json
import signal
import sys

from demo.data import TASKS, make_history, note_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.data", description=__doc__)
    parser.add_argument("--end", type=int, required=True, help="when the past ends, Unix seconds")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Who reads may stop at any time, and is killed now and then.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for task in reversed(make_history(end=options.end, seed=options.seed, tasks=options.tasks)):
        json.dump(
            {"row": task.row(), "log": task.lines(), "note": note_of(task, end=options.end)}, sys.stdout
        )
        sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
