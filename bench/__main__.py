"""`python -m bench [PART] [options]`: measure, print tables, exit 1 when a goal was missed. `PARTS` names the parts."""

import subprocess
import sys
from importlib import import_module

from bench.tables import print_machine

PARTS = {
    "detection": "bench.detection",
    "live": "bench.live_pages",
    "lists": "bench.lists",
    "idle": "bench.idle",
    "batch": "bench.batch",
    "generation": "bench.generation",
    "history": "bench.history",
    "export": "bench.export",
    "harvest": "bench.harvest",
}


def main() -> int:
    given = sys.argv[1:]
    if not given:
        # Each in a process of its own: one data directory and one set of settings for each.
        codes = [subprocess.call([sys.executable, "-m", "bench", part]) for part in PARTS]
        return max(codes)
    if given[0] not in PARTS:
        print(f"{__doc__}\n`python -m bench` alone runs all of them.")
        return 0 if given[0] in ("-h", "--help") else 2
    print_machine()
    return 0 if import_module(PARTS[given[0]]).main(given[1:]) else 1


if __name__ == "__main__":
    sys.exit(main())
