"""Which source, offer and team are meant: what was named, else the only one there is, else a 422 with the choices."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from tasks_app.access.policy import Verb, can
from tasks_app.api.errors import invalid
from tasks_app.errors import NotPermitted
from tasks_app.models import CatalogItem, Source, Team
from tasks_app.services.generation_sources import offers_of
from tasks_app.sources.generation.base import Offer, OfferKind


def choose_offer(user: User, kind: OfferKind, *, source: Any, offer: Any, model: Any) -> tuple[Source, Offer]:
    """`model` may name an offer too; where the offer has a parameter of that name it is that.

    Raises ApiError (422), NotPermitted for who may make nothing anywhere.
    """
    usable = [row for row in _sources_for(user) if can(user, Verb.GENERATE, row)]
    if not usable:
        raise NotPermitted("Your role does not allow you to make videos and images.")
    names = [row.name for row in usable]
    if source not in (None, ""):
        usable = [row for row in usable if row.name == source]
        if not usable:
            raise invalid(source=f"You can make nothing there. Choose from: {_listed(names)}.")
    found = [(row, one) for row in usable for one in offers_of(row) if one.kind == kind]
    if not found:
        where = f"“{source}” offers" if source else "The sources that you may use offer"
        raise invalid(source=f"{where} no {kind}.")
    if offer not in (None, ""):
        found = _named(found, offer, "offer")
    elif model not in (None, "") and any(one.key == model for _, one in found):
        found = _named(found, model, "model")
    elif model not in (None, "") and not any(_has(one, "model") for _, one in found):
        raise invalid(model=f"Nobody offers this. Choose from: {_listed(one.key for _, one in found)}.")
    sources = list(dict.fromkeys(row.name for row, _ in found))
    if len(sources) > 1:
        raise invalid(source=f"Say which source is meant: {_listed(sources)}.")
    if len(found) > 1:  # the plain one, if there is one: an offer that is called as what it makes
        found = [pair for pair in found if pair[1].key == kind] or found
    if len(found) > 1:
        raise invalid(offer=f"Say which offer is meant: {_listed(one.key for _, one in found)}.")
    return found[0]


def choose_team(teams: QuerySet[Team], given: Any, *, is_needed: bool) -> Team | None:
    """By short name or name, out of `teams`; the only one where one is needed. Raises ApiError (422)."""
    rows = list(teams.select_related("group").distinct()[:50])
    if given not in (None, ""):
        for row in rows:
            if given in (row.slug, row.group.name):
                return row
        raise invalid(team=f"You are in no such team. Choose from: {_listed(row.slug for row in rows)}.")
    if not is_needed:
        return None
    if len(rows) == 1:
        return rows[0]
    raise invalid(team=f"Say for which team: {_listed(row.slug for row in rows)}.")


def teams_at(user: User, source: Source) -> tuple[QuerySet[Team], bool]:
    """The teams for which `user` may make something there, and whether one of them is needed."""
    mine = Team.objects.all() if user.is_superuser else Team.objects.of(user)
    # A team that does not exist is open to no source, so that this asks for roles alone.
    by_role = can(user, Verb.GENERATE, source, team=Team(pk=0))
    return mine if by_role else mine.filter(generation_sources=source), not by_role


def choose_item(user: User, given: Any) -> CatalogItem:
    """By number or short name. Raises ApiError (422)."""
    seen = CatalogItem.objects.visible_to(user).select_related("source")
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 2**63:
        rows = list(seen.filter(pk=given))
    elif isinstance(given, str) and given:
        rows = list(seen.filter(slug=given)[:20])
    else:
        rows = []
    if len(rows) == 1:
        return rows[0]
    if rows:
        choices = _listed(f"{row.pk} ({row.source.name})" for row in rows)
        raise invalid(item=f"Several sources have it. Name it by number: {choices}.")
    raise invalid(item=f"There is no such item. Choose from: {_listed(row.slug for row in seen[:20])}.")


def _sources_for(user: User) -> QuerySet[Source]:
    """Generation sources that `user` sees by a role or uses by a team."""
    made = Source.objects.exclude(kind=Source.PROXMOX)
    own = Q(pk__in=Source.objects.visible_to(user).values("pk")) | Q(teams__in=Team.objects.of(user))
    return made.filter(own).distinct().order_by("name")


def _named(found: Sequence[tuple[Source, Offer]], key: Any, field: str) -> list[tuple[Source, Offer]]:
    chosen = [pair for pair in found if pair[1].key == key]
    if not chosen:
        keys = _listed(dict.fromkeys(one.key for _, one in found))
        raise invalid(**{field: f"Nobody offers this. Choose from: {keys}."})
    return chosen


def _has(offer: Offer, name: str) -> bool:
    return any(parameter.name == name for parameter in offer.parameters)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
