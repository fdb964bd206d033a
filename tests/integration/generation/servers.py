"""Starts Python servers that others wrote: a stand-in for ComfyUI, comfy-api-proxy in front of it, and cog.

`bin/test` installs them (see bin/_servers.py); without them the tests are skipped with the reason.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 40
TOKEN = "a-static-bearer-token"


@contextmanager
def running_fake_comfyui() -> Iterator[str]:
    """The origin of comfy-api-proxy's own stand-in for ComfyUI."""
    port = _free_port()
    with _running([_parts().fake_comfyui(), "--port", str(port)], port, "/queue") as url:
        yield url


@contextmanager
def running_proxy(engine: str, folder: Path) -> Iterator[str]:
    """The origin of a Comfy API v2 in front of `engine`; it wants TOKEN and keeps its jobs in `folder`."""
    port = _free_port()
    command = ["-m", "comfy_api_proxy.cli", "run", "--comfyui", engine, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--token", TOKEN, "--state-dir", str(folder)]
    with _running(command, port, "/api/v2/health") as url:
        yield url


@contextmanager
def running_cog() -> Iterator[str]:
    """The origin of cog with the model of `cog_model.py`, one prediction at a time."""
    port = _free_port()
    bin_folder = str(Path(_parts().python()).parent)
    environ = {
        "COG_PREDICT_TYPE_STUB": "cog_model.py:Model",
        "PORT": str(port),
        # its worker is the "python" of the path
        "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
    }
    with _running(["-m", "cog.server.http", "--host", "127.0.0.1"], port, "/health-check", environ) as url:
        deadline = time.monotonic() + START_SECONDS
        while requests.get(f"{url}/health-check", timeout=5).json()["status"] != "READY":
            assert time.monotonic() < deadline, "cog's model did not become ready"
            time.sleep(0.1)
        yield url


@contextmanager
def _running(
    arguments: list[str], port: int, path: str, environ: Mapping[str, str] | None = None
) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [_parts().python(), *arguments],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(process, url + path)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Until it answers, whatever it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode} before it answered"
        try:
            requests.get(url, timeout=5)
            return
        except requests.RequestException:
            time.sleep(0.05)
    pytest.fail("the server did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _parts() -> ModuleType:
    """bin/_servers.py; skips where they are not installed."""
    bin_folder = str(ROOT / "bin")
    sys.path.insert(0, bin_folder)
    try:
        spec = importlib.util.spec_from_file_location("_servers", ROOT / "bin" / "_servers.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(bin_folder)
    if not module.is_ready():
        pytest.skip("bin/test has not installed these servers yet")
    return module
