"""Prepares .venv for bin/run and bin/test with the standard library alone."""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOWEST = (3, 11)


def stop(problem, cure):
    """End with what is wrong and how to mend it."""
    sys.stderr.write("%s\n%s\n" % (problem, cure))
    sys.exit(1)


def check_python():
    """The system must be Linux or macOS with Python 3.11 or newer."""
    if os.name != "posix":
        stop("The portal runs on Linux and macOS.", "On Windows, use WSL.")
    if sys.version_info < LOWEST:
        stop(
            "Python %d.%d or newer is needed; this is %d.%d." % (LOWEST + tuple(sys.version_info[:2])),
            "Install it (Debian 12 and newer: apt install python3 python3-venv) and run: python3.11 bin/run",
        )


def digest(*files):
    """Changes when a requirements file or the Python version changes."""
    state = hashlib.sha256(sys.version.encode())
    for name in files:
        with open(os.path.join(ROOT, name), "rb") as file:
            state.update(file.read())
    return state.hexdigest()


def has_pip(python):
    """False for a .venv that is missing, was cut off while it was made, or belongs to a Python that was replaced."""
    try:
        return subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def prepare(requirements, *included):
    """Make .venv when it is missing and install `requirements` when it or a file it includes has changed."""
    check_python()
    stamp = os.path.join(VENV, requirements + ".sha256")
    wanted = digest(requirements, *included)
    try:
        with open(stamp) as file:
            if os.path.exists(PYTHON) and file.read() == wanted:
                return
    except OSError:
        pass
    if not has_pip(PYTHON):
        sys.stderr.write("Making .venv ...\n")
        if subprocess.call([sys.executable, "-m", "venv", "--clear", VENV]) != 0:
            stop(
                "The virtual environment could not be made.",
                "Debian and Ubuntu: apt install python3-venv. Then start again.",
            )
    sys.stderr.write("Installing %s ...\n" % requirements)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.call([*command, "-r", os.path.join(ROOT, requirements)]) != 0:
        stop(
            "%s could not be installed." % requirements,
            "The lines above say why. Behind a proxy or mirror, set PIP_INDEX_URL or HTTPS_PROXY and start again.",
        )
    with open(stamp, "w") as file:
        file.write(wanted)
