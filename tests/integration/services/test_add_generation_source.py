"""`manage.py add_source` for a source of videos and images, against the demo's service."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from demo.generation.server import GenerationServer
from tasks_app import connections
from tasks_app.models import AuditEntry, Source
from tests.factories import make_source, make_team

pytestmark = pytest.mark.django_db
KEY = "open-sesame-1234"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerationServer]:
    server = GenerationServer(("127.0.0.1", 0), tmp_path_factory.mktemp("studio"), key=KEY).start()
    yield server
    server.stop()


def run(server: GenerationServer, tmp_path: Path, *more: str, key: str = KEY, name: str = "studio") -> str:
    out = io.StringIO()
    file = tmp_path / "key"
    file.write_text(key + "\n")
    arguments = ["--name", name, "--url", server.url, "--key-file", str(file), *more]
    call_command("add_source", "task_api", *arguments, stdout=out)
    return out.getvalue()


def test_it_asks_says_what_is_offered_and_stores_the_source(server: GenerationServer, tmp_path: Path) -> None:
    team = make_team(name="Film")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"limits": {"video": 1}}))
    printed = run(server, tmp_path, "--settings-file", str(settings), "--team", "Film")
    assert "offers: " in printed and "Source “studio” added." in printed
    source = Source.objects.get()
    assert source.settings == {"limits": {"video": 1}} and list(source.teams.all()) == [team]
    assert connections.unseal(source.token_secret_sealed) == KEY
    assert KEY not in printed + str(list(AuditEntry.objects.values()))


def test_wrong_key_stores_nothing(server: GenerationServer, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Nothing was stored"):
        run(server, tmp_path, key="wrong-key")
    assert not Source.objects.exists()
    run(server, tmp_path, "--no-check", key="wrong-key")
    assert Source.objects.exists()


def test_it_is_changed_only_when_that_is_wanted(server: GenerationServer, tmp_path: Path) -> None:
    run(server, tmp_path)
    with pytest.raises(CommandError, match="--replace"):
        run(server, tmp_path)
    assert "changed" in run(server, tmp_path, "--replace", "--no-check", key="another-key")
    assert connections.unseal(Source.objects.get().token_secret_sealed) == "another-key"


def test_cluster_is_not_turned_into_it(server: GenerationServer, tmp_path: Path) -> None:
    make_source(name="prod")
    with pytest.raises(CommandError, match="another kind"):
        run(server, tmp_path, "--replace", name="prod")


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--settings-file", "{", "--settings-file: This is no JSON"),
        ("--settings-file", "[]", "a JSON object"),
        ("--settings-file", '{"offers": 5}', "--settings-file: "),
        ("--ca-file", "none", "--ca-file: "),
    ],
    ids=["no json", "no object", "bad offers", "no certificate"],
)
def test_wrong_file_is_named_by_its_option(
    server: GenerationServer, tmp_path: Path, option: str, text: str, words: str
) -> None:
    file = tmp_path / "given"
    file.write_text(text)
    with pytest.raises(CommandError, match=words):
        run(server, tmp_path, option, str(file))


def test_unknown_team_is_named(server: GenerationServer, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no team “Nobody”"):
        run(server, tmp_path, "--team", "Nobody")


def test_cluster_still_needs_its_token() -> None:
    arguments = ["--name", "x", "--url", "https://127.0.0.1:1", "--fingerprint", "AA" * 32]
    with pytest.raises(CommandError, match="--token-id"):
        call_command("add_source", "proxmox", *arguments)
