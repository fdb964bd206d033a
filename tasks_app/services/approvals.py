"""Approving and rejecting orders, by admins of the team or of the portal."""

from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from tasks_app.access.policy import Verb, can, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, Refused
from tasks_app.models import Order, Stage, Team
from tasks_app.queue import Job, enqueue
from tasks_app.services.order_notices import tell_orderer

MAX_REASON_CHARACTERS = 1000


def waiting_for(actor: User) -> QuerySet[Order]:
    """Orders that `actor` may decide about, oldest first."""
    waiting = Order.objects.filter(decision=Order.Decision.WAITING).order_by("id")
    if not can(actor, Verb.APPROVE):
        return waiting.none()
    teams = [team.pk for team in Team.objects.all() if can(actor, Verb.APPROVE, team=team)]
    return waiting.filter(team__in=teams)


@transaction.atomic
def approve(order: Order, *, actor: User, reason: str = "") -> None:
    """Let it start. Raises NotPermitted, Refused when it was decided or withdrawn before."""
    because = _decide(order, actor, Order.Decision.APPROVED, reason)
    at = now()
    order.machines.filter(stage=Stage.APPROVAL).update(stage=Stage.QUEUED, stage_at=at, next_look_at=at)
    record(Action.ORDER_APPROVE, actor=actor, target=order, reason=order.decision_reason)
    tell_orderer(order, key="decided", text=f"{order.decided_by_name} has approved {order}.{because}")
    transaction.on_commit(partial(enqueue, Job.PUMP))


@transaction.atomic
def reject(order: Order, *, actor: User, reason: str) -> None:
    """Nothing of it is made, what it reserved is free. Raises NotPermitted, InvalidInput (reason), Refused."""
    if not reason.strip():
        raise InvalidInput(reason="Say why: the person who ordered it reads it.")
    because = _decide(order, actor, Order.Decision.REJECTED, reason)
    at = now()
    order.machines.filter(stage=Stage.APPROVAL).update(stage=Stage.REJECTED, stage_at=at, ended_at=at)
    record(Action.ORDER_REJECT, actor=actor, target=order, reason=order.decision_reason)
    tell_orderer(order, key="decided", text=f"{order.decided_by_name} has rejected {order}:{because}")


def _decide(order: Order, actor: User, decision: Order.Decision, reason: str) -> str:
    """Write the decision; the reason as the end of a sentence."""
    require(actor, Verb.APPROVE, team=order.team)
    reason = reason.strip()
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidInput(reason=f"Use at most {MAX_REASON_CHARACTERS} characters.")
    waiting = Order.objects.filter(pk=order.pk, decision=Order.Decision.WAITING)
    name = actor.get_full_name() or actor.get_username()
    if not waiting.update(
        decision=decision, decided_by=actor, decided_by_name=name, decided_at=now(), decision_reason=reason
    ):
        raise Refused(f"{order} does not wait for a decision any more.")
    order.refresh_from_db()
    return f" “{reason}”" if reason else ""
