"""Installs the npm packages that some tests run against, for bin/test, with the standard library alone.

They go below .venv into a folder named after what is wanted, so a change of the lock file makes a new one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import _environment

WANTED = os.path.join(_environment.ROOT, "tests", "integration", "generation", "node")
FILES = ("package.json", "package-lock.json")
TESTS = "tests/integration/generation/test_aimock*.py"
LOWEST = (20, 15)
INSTALL_SECONDS = 300


def folder():
    """Where the packages lie, or would lie."""
    state = hashlib.sha256()
    for name in FILES:
        with open(os.path.join(WANTED, name), "rb") as file:
            state.update(file.read())
    return os.path.join(_environment.VENV, "node", state.hexdigest()[:16])


def is_ready():
    return os.path.isdir(os.path.join(folder(), "node_modules"))


def what_is_missing():
    """Why this machine cannot run the packages; "" when it can."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return "%s is missing" % program
    try:
        answer = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "node does not start: %s" % error
    match = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    if not match:
        return "node does not tell its version"
    if (int(match.group(1)), int(match.group(2))) < LOWEST:
        return "node is too old: %s, and %d.%d is needed" % (answer.stdout.strip(), *LOWEST)
    return ""


def prepare():
    """Install what is not there yet. Why the tests cannot run, "" when they can."""
    missing = what_is_missing()
    if missing or is_ready():
        return missing
    sys.stderr.write("Installing the servers that tests run against ...\n")
    os.makedirs(os.path.dirname(folder()), exist_ok=True)
    # made aside and moved, so that a folder that was cut off is never taken for a whole one
    aside = tempfile.mkdtemp(dir=os.path.dirname(folder()))
    try:
        for name in FILES:
            shutil.copy(os.path.join(WANTED, name), aside)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        output = subprocess.run(
            command,
            cwd=aside,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        if output.returncode != 0:
            lines = [line for line in output.stdout.splitlines() if line.strip()]
            return "npm could not install them: %s" % (lines[-1][:300] if lines else "it says nothing")
        try:
            os.rename(aside, folder())
        except OSError:
            if not is_ready():  # another run may have been faster
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        return "npm could not install them: %s" % error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ""
