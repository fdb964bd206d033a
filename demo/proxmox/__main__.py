"""`python -m demo.proxmox`: serve the demo cluster until SIGINT or SIGTERM."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from demo.proxmox.harness import DemoCluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.proxmox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=18006, help="0 picks a free one")
    parser.add_argument("--state-dir", type=Path, default=Path("var/demo"))
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="multiplies every duration; 0.1 is ten times as fast"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--no-life", action="store_true", help="no tasks but those that are asked for")
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        demo = DemoCluster(
            time_scale=options.time_scale,
            seed=options.seed,
            life=not options.no_life,
            past=True,
            state_dir=options.state_dir,
            host=options.host,
            port=options.port,
        ).start()
    except OSError as error:
        sys.stderr.write(f"demo cluster: cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1
    if not options.quiet:
        sys.stdout.write(f"demo cluster on {demo.url}, access in {options.state_dir / 'connection.json'}\n")
        sys.stdout.flush()
    stop.wait()
    demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
