"""Searches that people keep under a name, for themselves or for one of their teams. They are not deeds: no entry."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import QueryDict

from tasks_app.access.policy import Verb, can
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.models import SavedView, Team

TASKS, AUDIT = "tasks", "audit"
"""The pages of the search. A view keeps its page in its query as `on`, unless it is the tasks."""
MOST_NAME_CHARACTERS = 60
MOST_QUERY_CHARACTERS = 4000
MOST_OF_PERSON = 50
"""More are no menu any more."""
MOST_OF_TEAM = 50


def views_for(user: User) -> QuerySet[SavedView]:
    """One's own, and those of one's teams, by name. What a team was given stays with it."""
    own = Q(owner=user, team__isnull=True)
    views = SavedView.objects.filter(own | Q(team__in=Team.objects.of(user)))
    return views.select_related("team__group", "owner").order_by("name", "pk")


def page_and_query(view: SavedView) -> tuple[str, str]:
    """Which page it is of, and the query of the address there."""
    query = QueryDict(view.query, mutable=True)
    page = AUDIT if query.pop("on", [""])[-1] == AUDIT else TASKS
    return page, query.urlencode()


def may_change(view: SavedView, user: User) -> bool:
    """Who made it, and who leads its team."""
    return bool(changeable([view], user))


def changeable(views: Iterable[SavedView], user: User) -> set[int]:
    """Keys of those of `views` that `user` may change. Each team is asked about once."""
    leads: dict[int, bool] = {}
    found = set()
    for view in views:
        if view.team is not None and view.owner_id != user.pk and view.team.pk not in leads:
            leads[view.team.pk] = can(user, Verb.MANAGE_TEAM, team=view.team)
        if view.owner_id == user.pk or (view.team is not None and leads[view.team.pk]):
            found.add(view.pk)
    return found


def save_view(*, owner: User, name: str, page: str, query: str, team: Team | None) -> SavedView:
    """Keep `query` of `page`. `team` is one that `owner` belongs to, which then sees it too.

    Raises InvalidInput (name, team).
    """
    if len(query) > MOST_QUERY_CHARACTERS:
        raise InvalidInput(name="This search is too long to be kept.")
    if team is not None and not Team.objects.of(owner).filter(pk=team.pk).exists():
        raise InvalidInput(team="You do not belong to this team.")
    _check_room(owner, team)
    kept = QueryDict(query, mutable=True)
    if page == AUDIT:
        kept["on"] = AUDIT
    return _save(SavedView(owner=owner, team=team, name=_cleaned(name), query=kept.urlencode()))


def rename_view(view: SavedView, *, actor: User, name: str) -> None:
    """Raises NotPermitted, InvalidInput (name)."""
    _require(view, actor)
    view.name = _cleaned(name)
    _save(view)


def remove_view(view: SavedView, *, actor: User) -> None:
    """Nothing else goes with it. Raises NotPermitted."""
    _require(view, actor)
    view.delete()


def _require(view: SavedView, actor: User) -> None:
    if not may_change(view, actor):
        raise NotPermitted("Only who saved this view, or an admin of its team, may change it.")


def _check_room(owner: User, team: Team | None) -> None:
    own = SavedView.objects.filter(owner=owner).count()
    if own >= MOST_OF_PERSON:
        raise InvalidInput(name=f"You keep {own} views, which is as many as there may be. Remove one first.")
    if team is not None and SavedView.objects.filter(team=team).count() >= MOST_OF_TEAM:
        raise InvalidInput(
            team=f"{team} keeps {MOST_OF_TEAM} views, which is as many as there may be. Remove one first."
        )


def _cleaned(name: str) -> str:
    name = " ".join(name.replace("\0", "").split())
    if not name:
        raise InvalidInput(name="Give the view a name.")
    if len(name) > MOST_NAME_CHARACTERS:
        raise InvalidInput(name=f"Use at most {MOST_NAME_CHARACTERS} characters.")
    return name


def _save(view: SavedView) -> SavedView:
    try:
        with transaction.atomic():
            view.save()
    except IntegrityError:
        raise InvalidInput(name=f"{_whose(view)} a view named “{view.name}” already.") from None
    return view


def _whose(view: SavedView) -> str:
    return f"{view.owner} has saved" if view.pk else "You have saved"
