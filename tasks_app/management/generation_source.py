"""What `add_source` does for a source of videos and images: read the options, ask the source, store it."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from tasks_app import connections
from tasks_app.errors import InvalidInput
from tasks_app.models import Source, Team
from tasks_app.services import generation_sources as service

OPTIONS = {
    "url": "--url",
    "key": "--key-file",
    "settings": "--settings-file",
    "fingerprints": "--fingerprint",
    "ca_pem": "--ca-file",
    "teams": "--team",
    "name": "--name",
}


def store(options: dict[str, Any], known: Source | None) -> list[str]:
    """Add it, or change `known`; lines for the person. Raises CommandError, InvalidInput (keys of OPTIONS)."""
    kind = options["kind"]
    if known is not None and known.kind != kind:
        raise CommandError(f"“{known.name}” is a source of another kind.")
    given: dict[str, Any] = {
        "name": options["name"],
        "url": options["url"][0],
        "settings": _read_settings(options["settings_file"]),
        "fingerprints": options["fingerprint"],
        "ca_pem": read_file(options["ca_file"]) if options["ca_file"] else "",
    }
    teams = _teams(options["team"])
    key = read_file(options["key_file"]).strip() if options["key_file"] else None
    lines = [] if options["no_check"] else [_check(kind, given, key, known)]
    if known is None:
        service.add_generation_source(
            actor=None, kind=kind, key=key or "", teams=teams, is_demo=options["demo"], **given
        )
        return lines
    service.change_generation_source(known, actor=None, teams=teams or None, **given)
    if key is not None:
        service.replace_generation_key(known, actor=None, key=key)
    return lines


def _check(kind: str, given: dict[str, Any], key: str | None, known: Source | None) -> str:
    """What the source answered. Raises CommandError when it does not let us in."""
    if key is None and known is not None and known.token_secret_sealed:
        key = connections.unseal(known.token_secret_sealed)
    found = service.check_generation_connection(
        kind, service.checked_connection(kind, key=key or "", **given)
    )
    if found.problem:
        shown = f"\nIt shows a certificate with SHA-256 {found.fingerprint}." if found.fingerprint else ""
        raise CommandError(
            f"{found.problem}{shown}\nNothing was stored. --no-check stores it without asking."
        )
    offers = ", ".join(offer.label for offer in found.offers) or "nothing"
    return f"{found.text or 'It answers'}; offers: {offers}"


def _teams(names: list[str]) -> list[Team]:
    teams = {str(team): team for team in Team.objects.select_related("group")}
    if missing := [name for name in names if name not in teams]:
        raise InvalidInput(teams=f"There is no team “{missing[0]}”.")
    return [teams[name] for name in names]


def _read_settings(path: Path | None) -> dict[str, Any]:
    try:
        settings = json.loads(read_file(path)) if path else {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(settings=f"This is no JSON: {error}") from None
    if not isinstance(settings, dict):
        raise InvalidInput(settings="The settings are a JSON object: {…}.")
    return settings


def read_file(path: Path) -> str:
    """Raises CommandError for a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not a text file.") from None
