"""`manage.py add_source`: connect a cluster, or a source of videos and images, after really asking it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, transaction

from tasks_app.errors import InvalidInput
from tasks_app.management import generation_source
from tasks_app.management.generation_source import read_file
from tasks_app.models import Source
from tasks_app.services import sources
from tasks_app.services.source_input import check_addresses, check_name, check_pins, check_token
from tasks_app.sources.proxmox import Connection
from tasks_app.sources.proxmox.permissions import check_functions

MAX_SECRET_CHARACTERS = 400

_OPTIONS = {
    "urls": "--url",
    "fingerprints": "--fingerprint",
    "ca_pem": "--ca-file",
    "token_id": "--token-id",
    "token_secret": "--token-secret-file",
    "name": "--name",
}


class Command(BaseCommand):
    """Secrets come from files, so that they stand neither in the shell's history nor in the list of processes."""

    help = "Connect a Proxmox VE cluster or a source of videos and images. Asks it before anything is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=[kind for kind, _ in Source.KINDS])
        parser.add_argument("--name", required=True, help="what people call it")
        parser.add_argument(
            "--url", action="append", required=True, metavar="https://host:8006", help="repeat for more nodes"
        )
        trust = parser.add_argument_group("which certificate to trust (one of)")
        trust.add_argument(
            "--fingerprint",
            action="append",
            default=[],
            metavar="AA:BB:…",
            help="SHA-256; repeat for more nodes",
        )
        trust.add_argument("--ca-file", type=Path, metavar="F", help="PEM file, for instance pve-root-ca.pem")
        cluster = parser.add_argument_group("for a cluster")
        cluster.add_argument("--token-id", default="", metavar="user@realm!name")
        cluster.add_argument("--token-secret-file", type=Path, metavar="F")
        made = parser.add_argument_group("for a source of videos and images")
        made.add_argument("--key-file", type=Path, metavar="F", help="its API key; none for a server without")
        made.add_argument("--settings-file", type=Path, metavar="F", help="JSON: profile, offers, limits")
        made.add_argument("--team", action="append", default=[], help="may use it; repeat for more teams")
        parser.add_argument("--no-check", action="store_true", help="store it without asking the cluster")
        parser.add_argument(
            "--replace", action="store_true", help="change the source of this name if there is one"
        )
        parser.add_argument("--demo", action="store_true", help="mark it as a demo")

    def handle(self, *args: Any, **options: Any) -> None:
        name = " ".join(options["name"].split())
        try:
            known = Source.objects.filter(name=name).first()
            if known is not None and not options["replace"]:
                raise CommandError(f"There is a source “{name}” already. Use --replace to change it.")
            if options["kind"] == Source.PROXMOX:
                self._store_cluster(options, known)
            else:
                self.stdout.write("\n".join(generation_source.store(options, known)))
        except InvalidInput as error:
            names = _OPTIONS | generation_source.OPTIONS
            words = [f"{names.get(name, name)}: {text}" for name, text in error.fields.items()]
            raise CommandError("\n".join(words)) from None
        except (OperationalError, ProgrammingError) as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(
                f"The database is not ready ({reason}). Run manage.py migrate first."
            ) from None
        verb = "changed" if known is not None else "added"
        self.stdout.write(f"Source “{name}” {verb}. The portal visits it now.")

    def _store_cluster(self, options: dict[str, Any], known: Source | None) -> None:
        if not options["token_id"] or options["token_secret_file"] is None:
            raise CommandError("A cluster needs --token-id and --token-secret-file.")
        if known is not None and known.is_generation:
            raise CommandError(f"“{known.name}” is a source of another kind.")
        given = _read(options)
        if not options["no_check"]:
            self._check(given)
        with transaction.atomic():
            _store(known, given, is_demo=options["demo"])

    def _check(self, given: Connection) -> None:
        """Ask, and say what was found. Raises CommandError when the cluster does not let us in."""
        found = sources.check_connection(given)
        if found.version is None or found.permissions is None:
            raise CommandError(f"{found.problem}\nNothing was stored. --no-check stores it without asking.")
        latency = (
            f", answers in {found.latency_seconds * 1000:.0f} ms" if found.latency_seconds is not None else ""
        )
        self.stdout.write(f"Proxmox VE {found.version.text}{latency}")
        for check in check_functions(found.permissions, found.version, token_id=given.token_id):
            self.stdout.write(f"  {'✓' if check.allowed else '✗'} {check.label}")
            if not check.allowed:
                self.stdout.write(f"      needs {check.privilege} on {check.path}; as root on a node:")
                for line in check.command.splitlines():
                    self.stdout.write(f"        {line}")


def _read(options: dict[str, Any]) -> Connection:
    """The options, checked. Raises InvalidInput, CommandError for files that cannot be read."""
    if bool(options["fingerprint"]) == bool(options["ca_file"]):
        raise CommandError(
            "Give either --fingerprint or --ca-file: without one, nobody knows whom we talk to."
        )
    pins, ca_pem = check_pins(
        options["fingerprint"], read_file(options["ca_file"]) if options["ca_file"] else ""
    )
    secret = read_file(options["token_secret_file"])[:MAX_SECRET_CHARACTERS].strip()
    check_token(options["token_id"], secret)
    return Connection(
        name=check_name(options["name"]),
        urls=tuple(check_addresses(options["url"])),
        fingerprints=tuple(pins),
        ca_pem=ca_pem,
        token_id=options["token_id"],
        token_secret=secret,
    )


def _store(known: Source | None, given: Connection, *, is_demo: bool) -> None:
    if known is None:
        sources.add_source(
            actor=None,
            name=given.name,
            urls=given.urls,
            fingerprints=given.fingerprints,
            ca_pem=given.ca_pem,
            token_id=given.token_id,
            token_secret=given.token_secret,
            is_demo=is_demo,
        )
        return
    sources.change_source(known, actor=None, urls=given.urls)
    sources.accept_certificate(known, actor=None, fingerprints=given.fingerprints, ca_pem=given.ca_pem)
    sources.replace_token(known, actor=None, token_id=given.token_id, token_secret=given.token_secret)
