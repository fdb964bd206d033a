"""What bin/run does before anything is installed."""

import importlib.util
import sys
from pathlib import Path

BIN = Path(__file__).resolve().parents[2] / "bin"
_spec = importlib.util.spec_from_file_location("_environment", BIN / "_environment.py")
environment = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(environment)


def test_a_python_with_pip_is_kept():
    assert environment.has_pip(sys.executable)


def test_a_venv_that_is_missing_or_was_cut_off_is_made_again(tmp_path):
    """As `python3 -m venv` leaves it where Debian's python3-venv is missing: a Python, and no pip."""
    assert not environment.has_pip(str(tmp_path / "bin" / "python"))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert not environment.has_pip(str(python))
