"""`manage.py export_audit --format jsonl --since 30d > file`: the audit trail for operators; itself an entry of it."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks_app.audit.formats import Format
from tasks_app.forms.audit import AuditFilterForm
from tasks_app.services.exports import export_entries

_HELP = {
    "q": "words that stand in the entry",
    "actor": "name of the person",
    "action": "deed, for example order.approve",
    "result": "done, refused or failed",
    "source": "name of the source",
    "target": "kind:key, or a part of the object's name",
    "request": "id of the request",
    "since": "2026-11-20, 2026-11-20T14:30, 24h or 7d",
    "until": "the same; a day is included",
}


class Command(BaseCommand):
    help = (
        "Write the audit trail to standard output, oldest entry first. The export is recorded in the trail."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=[format.value for format in Format], required=True)
        parser.add_argument("--bom", action="store_true", help="begin CSV with a byte order mark")
        for name, words in _HELP.items():
            parser.add_argument(f"--{name}", default="", help=words)

    def handle(self, *args: Any, **options: Any) -> None:
        form = AuditFilterForm({name: options[name] for name in _HELP})
        if form.errors:
            told = [f"--{name}: {' '.join(map(str, texts))}" for name, texts in form.errors.items()]
            raise CommandError("\n".join(told))
        export = export_entries(
            form.filters, actor=None, format=Format(options["format"]), bom=options["bom"]
        )
        try:
            for piece in export.stream:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # `| head` has read enough; without this Python complains when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            export.stream.close()
