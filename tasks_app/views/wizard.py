"""The wizard that connects a Proxmox cluster: addresses, certificate, token, check, finish, first sync.

What it knows lies in the session (`wizard_state`), so going back and reloading are safe; only the end writes rows.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import zip_longest
from typing import Any, Concatenate

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.refusals import show_refusal
from tasks_app.forms.sources import AddressForm, AuthorityForm, CommandsForm, MatchesForm, NameForm, TokenForm
from tasks_app.models import Source
from tasks_app.services import sources as service
from tasks_app.sources.errors import SourceError
from tasks_app.sources.generation.registry import DIALECTS
from tasks_app.sources.proxmox import (
    Connection,
    Node,
    ProxmoxSource,
    check_functions,
    compare_command,
    find_excess,
)
from tasks_app.sources.proxmox.authority import check_authority
from tasks_app.views.requests import UserRequest, sent
from tasks_app.views.wizard_state import STEPS, Draft, by_fingerprint

MAX_PROBES = 32
"""Nodes asked one by one before a person has waited too long; clusters seldom have more."""
PROBES_AT_ONCE = 4  # a source gets five connections at most
_LABELS = ("Address", "Certificate", "Token", "Check", "Name")


def _step(name: str) -> Callable[[Callable[Concatenate[UserRequest, Draft, ...], HttpResponse]], Any]:
    """A step of the wizard: only for those who may add sources, and only when the steps before it are done."""

    def decorate(view: Callable[Concatenate[UserRequest, Draft, ...], HttpResponse]) -> Any:
        @require_http_methods(["GET", "POST"])
        @login_required
        @sensitive_post_parameters("token_secret")
        @never_cache
        @wraps(view)
        def guarded(request: UserRequest) -> HttpResponse:
            require(request.user, Verb.ADD_SOURCE)
            draft = Draft.load(request.session)
            if not draft.allows(name):
                return _go(draft.last_step())
            return view(request, draft)

        return guarded

    return decorate


@_step("address")
def address(request: UserRequest, draft: Draft) -> HttpResponse:
    """Which addresses; each is probed. Those that fail can be left out once one answers."""
    if request.method == "POST" and "continue" in request.POST and draft.answering:
        draft.is_confirmed = True
        draft.save(request.session)
        return _go("certificate")
    form = AddressForm(sent(request), initial={"urls": draft.typed})
    if request.method == "POST" and form.is_valid():
        draft.take_addresses(form.cleaned_data["urls"])
        draft.save(request.session)
        if draft.is_confirmed:
            return _go("certificate")
        for probed in draft.addresses:
            if probed.problem:
                form.add_error("urls", probed.problem)
    return _page(request, "address", draft, form=form)


@_step("certificate")
def certificate(request: UserRequest, draft: Draft) -> HttpResponse:
    """Whom to believe: the system's CAs, pinned certificates, or a CA that is given."""
    unknown = by_fingerprint(address for address in draft.answering if not address.is_trusted)
    matches = MatchesForm(fingerprints=unknown)
    authority = AuthorityForm()
    if request.method == "POST":
        way = request.POST.get("way", "")
        if way == "system" and not unknown:
            return _trust(request, draft, "system")
        if way == "pins" and unknown:
            matches = MatchesForm(request.POST, fingerprints=unknown)
            if matches.is_valid():
                return _trust(request, draft, "pins")
        if way == "ca":
            authority = AuthorityForm(request.POST, request.FILES)
            if authority.is_valid():
                problems = [check_authority(url, authority.cleaned_data["ca_pem"]) for url in draft.urls]
                if not any(problems):
                    return _trust(request, draft, "ca", authority.cleaned_data["ca_pem"])
                for problem in filter(None, problems):
                    authority.add_error("ca_pem", problem)
    return _page(
        request,
        "certificate",
        draft,
        form=matches if matches.is_bound else authority,
        matches=matches,
        authority=authority,
        cards=[(unknown[fingerprint], box) for fingerprint, box in matches.boxes().items()],
        command=compare_command(),
    )


@_step("token")
def token(request: UserRequest, draft: Draft) -> HttpResponse:
    """A token: the commands that make one, and the fields for what they print."""
    commands = CommandsForm(draft.choices or CommandsForm.usual_data())
    commands.is_valid()
    form = TokenForm(sent(request), initial={"token_id": draft.token_id or commands.token_id})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        connection = draft.connection(data["token_id"], data["token_secret"])
        problem = _ask(draft, connection)
        if not problem:
            draft.token_id, draft.secret_sealed = data["token_id"], connections.seal(data["token_secret"])
            draft.save(request.session)
            return _go("check")
        form.add_error("token_secret" if problem.kind == "unauthorized" else None, str(problem))
    tab = (
        "have"
        if request.GET.get("tab") == "have" or (form.is_bound and "have" in request.POST)
        else "commands"
    )
    return _page(request, "token", draft, form=form, commands=commands, tab=tab)


@_step("token")
def commands(request: UserRequest, draft: Draft) -> HttpResponse:
    """The commands for other choices, which are remembered for the check."""
    form = CommandsForm(request.POST)
    if form.is_valid():
        draft.choices = {name: request.POST[name] for name in form.fields if name in request.POST}
        draft.save(request.session)
    if request.htmx:
        return render(
            request, "sources/_commands.html", {"commands": form}, status=422 if form.errors else 200
        )
    return _page(request, "token", draft, form=TokenForm(), commands=form, tab="commands")


@_step("check")
def check(request: UserRequest, draft: Draft) -> HttpResponse:
    """What the token may do; asking again after it was repaired."""
    problem: SourceError | None = None
    if request.method == "POST":
        problem = _ask(draft, draft.stored_connection())
        draft.save(request.session)
    permissions = draft.remote_permissions
    functions = check_functions(permissions, draft.remote_version, token_id=draft.token_id, **_chosen(draft))
    return _page(
        request,
        "check",
        draft,
        functions=functions,
        missing=[function for function in functions if not function.allowed],
        excess=find_excess(permissions),
        problem=problem,
    )


@_step("finish")
def finish(request: UserRequest, draft: Draft) -> HttpResponse:
    """The nodes that were found, and the name; then the source is made."""
    form = NameForm(sent(request), initial={"name": draft.name})
    if request.method == "POST" and form.is_valid():
        try:
            source = service.add_source(
                actor=request.user,
                name=form.cleaned_data["name"],
                urls=draft.urls,
                fingerprints=draft.fingerprints,
                ca_pem=draft.ca_pem,
                token_id=draft.token_id,
                token_secret=connections.unseal(draft.secret_sealed),
            )
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            Draft.forget(request.session)
            service.check_source(source, actor=request.user)  # notes version and permissions at once
            answer = redirect("portal:source-sync", source.pk)
            return HttpResponseClientRedirect(answer["Location"]) if request.htmx else answer
    return _page(request, "finish", draft, form=form)


@require_GET
@login_required
def sync(request: UserRequest, source_id: int) -> HttpResponse:
    """The first sync, counted while it runs; the page asks for the counting part every second."""
    source = get_object_or_404(Source.objects.visible_to(request.user), pk=source_id)
    context = {
        "source": source,
        "task_count": source.tasks.count(),
        "guest_count": source.guests.count(),
        "node_count": source.nodes.count(),
        "synced_nodes": source.nodes.filter(first_synced_at__isnull=False).count(),
    }
    return render(request, "sources/_sync.html" if request.htmx else "sources/sync.html", context)


def _ask(draft: Draft, connection: Connection) -> SourceError | None:
    """Note version, permissions and nodes in the draft; returns what went wrong."""
    found = service.check_connection(connection)
    if found.error or found.version is None or found.permissions is None:
        return found.error
    draft.version = found.version.text
    draft.permissions = {
        path: {name: int(reaches_down) for name, reaches_down in held.items()}
        for path, held in found.permissions.by_path.items()
    }
    try:
        with ProxmoxSource(connection) as client, ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
            nodes = client.fetch_nodes()
            problems = list(pool.map(partial(_probe_node, client), nodes[:MAX_PROBES]))
    except SourceError as error:
        return error
    pins = draft.fingerprints
    draft.nodes = [
        {"name": node.name, "online": node.online, "is_pinned": node.fingerprint in pins, "problem": problem}
        for node, problem in zip_longest(nodes, problems)
    ]
    return None


def _probe_node(client: ProxmoxSource, node: Node) -> str:
    """Ask the node for what the portal will ask it for; why it does not answer, "" when it does."""
    if not node.online:
        return ""  # which the page says already
    try:
        client.fetch_node_tasks(node.name, since=None, limit=1)
    except SourceError as error:
        return str(error)
    return ""


def _chosen(draft: Draft) -> dict[str, Any]:
    """Pool, templates, storages and bridges for which the commands were made; the check asks about exactly these."""
    form = CommandsForm(draft.choices)
    if not draft.choices or not form.is_valid():
        return {}
    names = ("pool", "templates", "storages", "bridges")
    return {name: form.cleaned_data[name] for name in names}


def _trust(request: UserRequest, draft: Draft, trust: str, ca_pem: str = "") -> HttpResponse:
    draft.decide_trust(trust, ca_pem)
    draft.save(request.session)
    return _go("token")


def _go(step: str) -> HttpResponse:
    return HttpResponseRedirect(
        reverse("portal:source-add" if step == "address" else f"portal:source-add-{step}")
    )


def _page(request: UserRequest, step: str, draft: Draft, **context: Any) -> HttpResponse:
    at = STEPS.index(step)
    steps = [
        {
            "label": label,
            "address": reverse("portal:source-add" if name == "address" else f"portal:source-add-{name}"),
            "is_open": draft.allows(name),
            "is_current": number == at,
            "is_done": number < at,
        }
        for number, (name, label) in enumerate(zip(STEPS, _LABELS, strict=True))
    ]
    form = context.get("form")
    context |= {"draft": draft, "steps": steps, "number": at + 1, "dialects": DIALECTS}
    status = 422 if form is not None and form.errors else 200
    return render(request, f"sources/wizard_{step}.html", context, status=status)
