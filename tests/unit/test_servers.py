"""The Python servers of some tests: why they cannot be had is told, and half an installation is never taken for one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BIN = Path(__file__).resolve().parents[2] / "bin"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """bin/_servers.py with a .venv of its own."""
    monkeypatch.syspath_prepend(str(BIN))
    spec = importlib.util.spec_from_file_location("_servers", BIN / "_servers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module._environment, "VENV", str(tmp_path / "venv"))
    return module


def let_python_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_the_last_words_of_what_failed_are_told(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    let_python_be(
        monkeypatch, tmp_path, "print('first'); print('no venv here'); print('WARNING: x'); exit(1)"
    )
    assert servers.prepare() == "they could not be installed: no venv here"
    assert not servers.is_ready()


def test_a_python_that_is_not_there_is_told(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    assert "No such file" in servers.prepare()


def test_what_is_installed_is_not_installed_again(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    Path(servers.folder()).mkdir(parents=True)
    (Path(servers.folder()) / servers.READY).touch()
    let_python_be(monkeypatch, tmp_path, "exit(1)")
    assert servers.prepare() == ""


def test_other_requirements_are_another_installation(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    before = servers.folder()
    wanted = tmp_path / "servers.txt"
    wanted.write_text("cog==1\n")
    monkeypatch.setattr(servers, "WANTED", str(wanted))
    assert servers.folder() != before
