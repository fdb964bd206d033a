"""Installs the Python servers that some tests run against, for bin/test, with the standard library alone.

They have an environment of their own below .venv, in a folder named after what is wanted: none of it may meet the
portal's packages, and a change of the requirements makes a new one.
"""

import glob
import hashlib
import os
import subprocess
import sys
import tarfile

import _environment

WANTED = os.path.join(_environment.ROOT, "tests", "integration", "generation", "servers.txt")
TESTS = "tests/integration/generation/test_comfyui.py and test_cog.py"
SOURCE = "comfy-api-proxy==0.1.6"  # its wheel lacks the stand-in for ComfyUI
INSTALL_SECONDS = 600
READY = "ready"


def folder():
    """Where the servers lie, or would lie."""
    state = hashlib.sha256(sys.version.encode())
    with open(WANTED, "rb") as file:
        state.update(file.read())
    return os.path.join(_environment.VENV, "servers", state.hexdigest()[:16])


def is_ready():
    """The mark is made last, so an installation that was cut off is made again."""
    return os.path.exists(os.path.join(folder(), READY))


def python():
    return os.path.join(folder(), "venv", "bin", "python")


def fake_comfyui():
    return os.path.join(folder(), SOURCE.replace("-", "_").replace("==", "-"), "demo", "fake_comfyui.py")


def prepare():
    """Install what is not there yet. Why the tests cannot run, "" when they can."""
    if is_ready():
        return ""
    sys.stderr.write("Installing the Python servers that tests run against ...\n")
    os.makedirs(folder(), exist_ok=True)
    pip = [python(), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = ["download", "--no-deps", "--no-build-isolation", "--no-binary", SOURCE.partition("==")[0]]
    steps = [
        [sys.executable, "-m", "venv", "--clear", os.path.join(folder(), "venv")],
        [*pip, "install", "-r", WANTED],
        [*pip, *source, "--dest", folder(), SOURCE],
    ]
    for step in steps:
        problem = _problem(step)
        if problem:
            return "they could not be installed: %s" % problem
    try:
        (archive,) = glob.glob(os.path.join(folder(), "*.tar.gz"))
        with tarfile.open(archive) as content:
            # "data" refuses what would leave the folder; Pythons before 3.11.4 do not know the word
            content.extractall(folder(), **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    except (OSError, ValueError, tarfile.TarError) as error:
        return "the source of %s cannot be unpacked: %s" % (SOURCE, error)
    if not os.path.exists(fake_comfyui()):
        return "%s has no stand-in for ComfyUI" % SOURCE
    with open(os.path.join(folder(), READY), "w"):
        return ""


def _problem(command):
    """Its last line when it fails; "" when it goes well."""
    try:
        output = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = [line for line in output.stdout.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "" if output.returncode == 0 else (lines[-1][:300] if lines else "it says nothing")
