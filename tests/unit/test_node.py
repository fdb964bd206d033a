"""The npm packages of some tests: a machine that cannot have them is told why, and nothing is half installed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BIN = Path(__file__).resolve().parents[2] / "bin"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """bin/_node.py with an empty PATH and a .venv of its own."""
    monkeypatch.syspath_prepend(str(BIN))
    spec = importlib.util.spec_from_file_location("_node", BIN / "_node.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setattr(module._environment, "VENV", str(tmp_path / "venv"))
    return module


def put(tmp_path: Path, program: str, script: str) -> None:
    path = tmp_path / "programs" / program
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def test_a_machine_without_node_or_npm_is_told_so(node: ModuleType, tmp_path: Path):
    assert node.prepare() == "node is missing"
    put(tmp_path, "node", "print('v22.1.0')")
    assert node.prepare() == "npm is missing"


def test_an_old_node_is_named(node: ModuleType, tmp_path: Path):
    put(tmp_path, "npm", "")
    put(tmp_path, "node", "print('v18.19.1')")
    assert node.prepare() == "node is too old: v18.19.1, and 20.15 is needed"


def test_what_npm_says_when_it_fails_is_told_and_nothing_is_left(node: ModuleType, tmp_path: Path):
    put(tmp_path, "node", "print('v20.15.0')")
    put(tmp_path, "npm", "import pathlib; pathlib.Path('node_modules').mkdir(); print('no network'); exit(1)")
    assert node.prepare() == "npm could not install them: no network"
    assert not node.is_ready() and not list(Path(node.folder()).parent.iterdir())


def test_what_is_installed_is_not_installed_again(node: ModuleType, tmp_path: Path):
    put(tmp_path, "node", "print('v20.15.0')")
    script = "import pathlib; pathlib.Path('node_modules').mkdir(); assert pathlib.Path('package-lock.json').exists()"
    put(tmp_path, "npm", script)
    assert node.prepare() == "" and node.is_ready()
    put(tmp_path, "npm", "exit(1)")
    assert node.prepare() == ""
