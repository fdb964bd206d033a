"""Taking back something that was started on a guest, before it was sent."""

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import Refused, TaskAlreadyFinished
from tasks_app.models import Submission
from tasks_app.states import State

WITHDRAWN = "It was withdrawn before it was sent."


@transaction.atomic
def withdraw_submission(submission: Submission, *, actor: User) -> None:
    """It is not sent any more. What has been sent is cancelled by its task.

    Raises NotPermitted, TaskAlreadyFinished, Refused while it is on its way.
    """
    require(actor, Verb.CANCEL, submission.source, machine=submission.machine)
    submission.refresh_from_db(fields=["state"])
    if submission.is_final:
        raise TaskAlreadyFinished(f"{submission} has already ended.")
    at = now()
    unsent = Submission.objects.unfinished().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=at),
        pk=submission.pk,
        called_at__isnull=True,
        answered_at__isnull=True,
    )
    if not unsent.update(state=State.CANCELLED, ended_at=at, error=WITHDRAWN):
        raise Refused("It is just being sent. Ask again in a moment, when its task is known.")
    record(Action.TASK_CANCEL, actor=actor, target=submission, withdrawn=True)
