"""The jobs django-q2 runs. Each is a lookup and one call; running one twice is harmless."""

from tasks_app.audit import anchors, shipping
from tasks_app.polling import indexing, retention
from tasks_app.polling import watch as watching
from tasks_app.services import (
    addresses,
    audit_trail,
    cancellation,
    generation_cancellation,
    generation_delivery,
    generation_queue,
    identities,
    inventory_watch,
    leases,
    notices,
    pipeline,
    removal,
    results,
    submissions,
)
from tasks_app.services import retention as task_retention


def watch(slot: int) -> None:
    """One slice of the watch loop in `slot`; ends by enqueueing its successor."""
    watching.run_slice(slot)


def ensure_watchers() -> None:
    """Start the watch loop of every slot that nobody holds (at start-up and by a one-minute schedule)."""
    watching.ensure_watchers()


def ping() -> None:
    """Nothing: that it came back, saved, shows the supervisor that its cluster works."""


def deliver(submission_pk: int) -> None:
    """Bring one submission to its remote, or reconcile it after a kill."""
    submissions.deliver_submission(submission_pk)


def cancel(task_pk: int) -> None:
    """Ask the source to stop one task; looks for leftovers afterwards."""
    cancellation.deliver_cancel(task_pk)


def dispatch() -> None:
    """Send videos and images that wait, where there is room (after each order; every 3 s while any is due)."""
    generation_queue.dispatch()


def generate(task_pk: int) -> None:
    """Bring one of them to its provider, or find out what came of a call that lost its answer."""
    generation_delivery.deliver_generation(task_pk)


def pick_up() -> None:
    """Enqueue again what stands in rows without progress (one-minute schedule, and at start-up)."""
    submissions.pick_up_submissions()
    cancellation.pick_up_cancels()
    removal.continue_removals()
    task_retention.continue_purge()
    generation_cancellation.cancel_overdue()
    generation_queue.dispatch()
    identities.pick_up()


def index_texts() -> None:
    """Make the words of changed tasks and the logs of ended ones searchable (while there are any)."""
    indexing.index_texts()


def pump() -> None:
    """Move on the making of machines: what ended, what may start (every 3 s while there is any, and at each end)."""
    pipeline.pump()


def look_for_addresses() -> None:
    """Ask new guests for their addresses (every 3 s while one has not told any)."""
    addresses.look_for_addresses()


def tidy() -> None:
    """Remove what is kept for a while only: old events (hourly schedule)."""
    retention.tidy()


def run_leases() -> None:
    """Remind of leases that end, end them, delete after the grace period (ten-minute schedule, and at start-up)."""
    leases.run_leases()


def check_machines() -> None:
    """Note machines and templates that vanished or moved in Proxmox (one-minute schedule)."""
    inventory_watch.check_machines()


def send_mails() -> None:
    """Mail the notices that are not mailed yet (after each notice; ten-minute schedule for what failed)."""
    notices.send_mails()


def copy_result(asset_pk: int) -> None:
    """Copy one result of a generation task into the media storage."""
    results.copy_asset(asset_pk)


def clean_up_results() -> None:
    """Remove results, uploads and logs past their retention (hourly schedule, and when an admin asks)."""
    results.clean_up()


def purge_tasks() -> None:
    """Remove ended tasks that have outlived the period of their kind (daily schedule, and when an admin asks)."""
    task_retention.purge()


def anchor_audit() -> None:
    """Write the end of the audit chain down outside the database (ten-minute schedule)."""
    anchors.write_anchor()


def verify_audit() -> None:
    """Walk the audit chain once a day; the page tells the verdict."""
    audit_trail.verify_trail()


def purge_audit(days: int, actor_pk: int, reason: str, *click: str) -> None:
    """Remove old audit entries when there are many of them (when an admin asks; `click` says from where)."""
    audit_trail.purge_by_job(days, actor_pk, reason, *click)


def name_persons() -> None:
    """Write who is behind tasks whose Proxmox identity was given a person (after each change; once more later)."""
    identities.name_persons()


def ship_audit() -> None:
    """Send new entries of the audit trail to the syslog server (every 3 s while there are any)."""
    shipping.ship()
