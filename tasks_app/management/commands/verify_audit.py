"""`manage.py verify_audit`: walks the audit trail and its anchors; ends with 1 when somebody has touched it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks_app.services.audit_trail import verify_trail


class Command(BaseCommand):
    help = "Verify that no entry of the audit trail was changed, removed, inserted or cut off."

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verify_trail()
        if not verdict.is_intact:
            good = f" All is well up to #{verdict.verified}." if verdict.verified else ""
            raise CommandError(f"{verdict.problem}{good}", returncode=1)
        if verdict.verified < verdict.first:
            self.stdout.write("The audit trail is empty.")
        else:
            self.stdout.write(f"Verified from #{verdict.first} up to #{verdict.verified}.")
