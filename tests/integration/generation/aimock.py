"""Starts aimock, somebody else's fake of hosted generation APIs, and tells it to misbehave.

Its packages are put below .venv by `bin/test` (see bin/_node.py); without them the tests are skipped with the reason.
"""

import importlib.util
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30
POLLS_UNTIL_RUNNING = 2
POLLS_UNTIL_DONE = 4
"""As start.mjs has them."""


class Aimock:
    """One running server. `url` is its origin."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def chaos(self, **rates: float) -> Iterator[None]:
        """Every request goes wrong in this way until the end of the block: `rateLimitRate=1`, `latencyMs=300`, …"""
        requests.post(f"{self.url}/__aimock/chaos", json=rates, timeout=10).raise_for_status()
        try:
            yield
        finally:
            requests.delete(f"{self.url}/__aimock/chaos", timeout=10).raise_for_status()

    def journal(self) -> list[dict[str, Any]]:
        """Every request it has had, oldest first, as it writes them down."""
        answer = requests.get(f"{self.url}/__aimock/journal", timeout=10)
        answer.raise_for_status()
        entries = answer.json()
        return entries if isinstance(entries, list) else entries["entries"]


@contextmanager
def running_aimock() -> Iterator[Aimock]:
    """A server of one's own on a free port; skips where it cannot run. It ends when its input does."""
    node = _load_node()
    reason = node.what_is_missing() or ("" if node.is_ready() else "bin/test has not installed it yet")
    if reason:
        pytest.skip(f"aimock does not run here: {reason}")
    command = ["node", str(Path(__file__).parent / "node" / "start.mjs"), node.folder()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Aimock(_said(process)["url"])
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else ""
    assert line, "aimock did not start"
    answer: dict[str, Any] = json.loads(line)
    return answer


def _load_node() -> ModuleType:
    bin_folder = str(ROOT / "bin")
    sys.path.insert(0, bin_folder)
    try:
        spec = importlib.util.spec_from_file_location("_node", ROOT / "bin" / "_node.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(bin_folder)
