"""Making videos and images: what one may make, and the form for one of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from tasks_app.access.policy import Verb, can
from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.forms.generate import GenerateForm
from tasks_app.models import Generation, Source, Task, Team
from tasks_app.services import generations as service
from tasks_app.services.generation_sources import offer_of, offers_of
from tasks_app.sources.generation.base import Offer
from tasks_app.sources.generation.parameters import price_of
from tasks_app.templatetags.generation_parts import money, price_words
from tasks_app.views.requests import UserRequest, sent

_AGAIN_CHARACTERS = 18


@dataclass(frozen=True, slots=True)
class Traffic:
    """How busy a source is: what waits in the portal, and what is at the provider."""

    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Workshop:
    """A source with its offers. `obstacle` says why nothing can be made there now, "" when it can."""

    source: Source
    offers: tuple[Offer, ...]
    traffic: Traffic
    obstacle: str = ""
    prices: dict[str, str] = field(default_factory=dict)


@require_GET
@login_required
def generate(request: UserRequest) -> HttpResponse:
    """Every offer of every source at which this person may make something."""
    sources = list(_sources_for(request.user))
    traffic = _traffic(sources)
    workshops = [_workshop(source, traffic[source.pk]) for source in sources]
    context = {
        "workshops": workshops,
        "can_add": can(request.user, Verb.ADD_SOURCE),
        "has_any": Source.objects.exclude(kind=Source.PROXMOX).exists(),
    }
    return render(request, "generate/generate.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def generate_one(request: UserRequest, source_id: int, offer_key: str) -> HttpResponse:
    """The form of one offer. A double click, or a reload of the sent form, makes one task."""
    source, offer, teams, needs_team = _find(request, source_id, offer_key)
    form = GenerateForm(
        sent(request),
        request.FILES if request.method == "POST" else None,
        offer=offer,
        teams=teams,
        needs_team=needs_team,
        initial=_first_values(request, source, offer) if request.method == "GET" else None,
    )
    if request.htmx and request.method == "GET":
        context = _summary(source, offer, request.GET.get(f"p-{_per(offer)}"))
        return render(request, "generate/_summary.html", context)
    if request.method == "POST" and form.is_valid():
        task = _submit(request, source, offer, form)
        if task is not None:
            return redirect("portal:task", task.pk)
    per_value = form[f"p-{_per(offer)}"].value() if _per(offer) else None
    context = {"form": form, "needs_team": needs_team, "teams": teams, **_summary(source, offer, per_value)}
    return render(request, "generate/form.html", context, status=422 if form.errors else 200)


def _submit(request: UserRequest, source: Source, offer: Offer, form: GenerateForm) -> Task | None:
    """The new task, or None with what was refused on the form. Raises NotPermitted."""
    try:
        return service.submit_generation(
            source,
            actor=request.user,
            offer=offer.key,
            parameters=form.parameters(),
            uploads=form.uploads(),
            team=form.cleaned_data["team"],
            idempotency_key=str(form.cleaned_data["idempotency_key"]),
            minutes=form.cleaned_data["minutes"],
        )
    except InvalidInput as error:
        form.refuse(error)
    except NotPermitted:
        raise
    except Refused as error:
        form.add_error(None, str(error))
    return None


def _sources_for(user: User) -> QuerySet[Source]:
    """Generation sources at which `user` may make something, by a role or by a team."""
    sources = Source.objects.exclude(kind=Source.PROXMOX)
    if user.is_superuser:
        return sources
    by_role = [
        source.pk
        for source in sources.filter(pk__in=Source.objects.visible_to(user))
        if _by_role(user, source)
    ]
    return sources.filter(Q(pk__in=by_role) | Q(teams__in=Team.objects.of(user))).distinct()


def _by_role(user: User, source: Source) -> bool:
    """Whether a role alone allows it, so that no team need be named: a team that is not open to it gives nothing."""
    return can(user, Verb.GENERATE, source, team=Team(pk=0))


def _find(request: UserRequest, source_id: int, offer_key: str) -> tuple[Source, Offer, QuerySet[Team], bool]:
    """The source, the offer, the teams it can be made for, and whether one of them must be chosen.

    404 for who may not know the source, NotPermitted for who may see it and make nothing there.
    """
    user = request.user
    source = Source.objects.exclude(kind=Source.PROXMOX).filter(pk=source_id).first()
    if source is None:
        raise Http404
    if not can(user, Verb.GENERATE, source):
        get_object_or_404(Source.objects.visible_to(user), pk=source_id)
        raise NotPermitted(f"Your role does not allow you to {Verb.GENERATE.value} on {source.name}.")
    offer = offer_of(source, offer_key)
    if offer is None:
        raise Http404
    mine = Team.objects.all() if user.is_superuser else Team.objects.of(user)
    teams = mine.filter(generation_sources=source).select_related("group").order_by("group__name")
    return source, offer, teams, not _by_role(user, source)


def _first_values(request: UserRequest, source: Source, offer: Offer) -> dict[str, Any]:
    """The input of an earlier task (`?again=<id>`) as first values; defaults where there is none to see."""
    again = request.GET.get("again", "")
    if not (again.isascii() and again.isdigit() and len(again) <= _AGAIN_CHARACTERS):
        return {}
    earlier = Generation.objects.filter(
        task__in=Task.objects.visible_to(request.user),
        task_id=int(again),
        task__source=source,
        offer=offer.key,
    ).first()
    if earlier is None:
        return {}
    names = {parameter.name for parameter in offer.parameters if parameter.type != "image"}
    values = {f"p-{name}": value for name, value in earlier.parameters.items() if name in names}
    return values | ({"team": earlier.team_id} if earlier.team_id else {})


def _workshop(source: Source, traffic: Traffic) -> Workshop:
    offers = offers_of(source)
    obstacle = ""
    if source.paused_at is not None:
        obstacle = f"{source.name} is paused by an admin."
    elif not offers:
        obstacle = "Its settings declare nothing that can be made."
    prices = {offer.key: price_words(offer) for offer in offers}
    return Workshop(source, offers, traffic, obstacle, prices)


def _traffic(sources: Iterable[Source]) -> dict[int, Traffic]:
    """By source, two counts in one query each."""
    pks = [source.pk for source in sources]
    open_ones = Generation.objects.filter(task__source__in=pks).order_by()
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for name, rows in (("waiting", open_ones.held()), ("running", open_ones.at_remote())):
        for pk, count in rows.values_list("task__source").annotate(count=Count("pk")):
            found[pk][name] = count
    return defaultdict(Traffic, {pk: Traffic(**counts) for pk, counts in found.items()})


def _per(offer: Offer) -> str:
    """The parameter on which the price depends, "" when there is none in the form."""
    per = offer.price.per if offer.price else ""
    return per if per in {parameter.name for parameter in offer.parameters} else ""


def _summary(source: Source, offer: Offer, per_value: Any) -> dict[str, Any]:
    """What stands beside the form and follows it: price, who waits before, what runs."""
    return {
        "source": source,
        "offer": offer,
        "traffic": _traffic([source])[source.pk],
        "per": _per(offer),
        "price": _price(offer, per_value),
        "price_rule": price_words(offer) if offer.price and offer.price.per else "",
        "obstacle": f"{source.name} is paused by an admin." if source.paused_at else "",
    }


def _price(offer: Offer, per_value: Any) -> str:
    """`0.80 USD` for what is in the form; "" while it cannot be told."""
    counted = price_of(offer, {_per(offer): per_value})
    return f"{money(counted[0])} {counted[1]}" if counted else ""
