"""`python -m demo.generation`: serve the demo generation service until SIGINT or SIGTERM."""

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

from demo.generation.server import GenerationServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.generation", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=18007, help="0 picks a free one")
    parser.add_argument("--state-dir", type=Path, default=Path("var/demo-generation"))
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="of the shortest time for a frame; 0 is as fast as it can",
    )
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    options.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = options.state_dir / "connection.json"
    try:
        server = GenerationServer(
            (options.host, options.port),
            options.state_dir,
            key=_key(options.state_dir / "key"),
            time_scale=options.time_scale,
        ).start()
    except OSError as error:
        sys.stderr.write(
            f"demo generation service: cannot listen on {options.host}:{options.port}: {error.strerror}\n"
        )
        return 1
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps({"url": server.url, "key": server.key}), encoding="utf-8")
    fresh.replace(file)
    if not options.quiet:
        sys.stdout.write(f"demo generation service on {server.url}, key in {file}\n")
        sys.stdout.flush()
    stop.wait()
    server.stop()
    return 0


def _key(path: Path) -> str:
    """Made once, so that the portal's source keeps working after a restart."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        key = secrets.token_urlsafe(24)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(key)
        return key


if __name__ == "__main__":
    sys.exit(main())
