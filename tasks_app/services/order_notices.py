"""Whom an order concerns, and what they are told in the portal's inbox."""

from django.contrib.auth.models import User
from django.db.models import Q

from tasks_app.models import Grant, Order, Role, Team
from tasks_app.services.notices import notify


def approvers(team: Team) -> list[User]:
    """The team's admins; when it has none, the admins of the portal."""
    admins = list(team.admins.filter(is_active=True))
    if admins:
        return admins
    everywhere = Grant.objects.filter(role=Role.ADMIN, source__isnull=True).values("user")
    return list(User.objects.filter(Q(is_superuser=True) | Q(pk__in=everywhere), is_active=True))


def tell_approvers(order: Order, count: int) -> None:
    """An order waits for them."""
    what = order.title if count == 1 else f"{order.title} ({count} machines)"
    notify(
        [user for user in approvers(order.team) if user.pk != order.actor_id],
        key=f"order-{order.pk}-approval",
        text=f"{order.actor_name} asks for {what} in {order.team}.",
        path="/approvals/",
    )


def tell_orderer(order: Order, *, key: str, text: str) -> None:
    """Who has ordered it is told once per key."""
    if order.actor is not None:
        notify([order.actor], key=f"order-{order.pk}-{key}", text=text, path=f"/orders/{order.pk}/")
