"""Ordering machines of the catalogue, and cloning a guest: submitted by the services that pages use."""

from typing import Any

from django.http import HttpResponse
from ninja import Router, Schema
from pydantic import Field, ValidationError, model_validator

from tasks_app.api.auth import ApiRequest
from tasks_app.api.bodies import idempotency_key, read_json
from tasks_app.api.choices import choose_item, choose_team
from tasks_app.api.errors import ApiError, invalid
from tasks_app.api.generate import KEY_HEADER, accepted
from tasks_app.api.schemas import Accepted, ErrorBody
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.live.order_shapes import machine_state, order_state
from tasks_app.models import CatalogItem, Guest, Order, Submission, Team
from tasks_app.services.orders import Size, Wanted, submit_order
from tasks_app.services.planning import CUSTOM, MAX_MACHINES
from tasks_app.services.submissions import submit_guest_action

router = Router(tags=["Submit"])


class CloneRequest(Schema):
    """Either `item` of the catalogue, for a team; or `source` and `vmid` of a guest, for operators."""

    model_config = {"extra": "forbid", "strict": True}

    item: int | str | None = Field(None, description="Short name or number of an item of the catalogue")
    name: str = Field("", max_length=200, description="Host name; without one the item's pattern gives it")
    names: list[str] = Field([], max_length=MAX_MACHINES, description="One machine for each name")
    count: int | None = Field(None, ge=1, le=MAX_MACHINES, description="How many, named by the pattern")
    team: str | None = Field(None, description="Short name of the team that asks, when you are in several")
    size: str | None = Field(None, description="Key of a size of the item; the first one otherwise")
    cores: int | None = Field(None, ge=1, description="Instead of a size, where the item allows it")
    memory_mb: int | None = Field(None, ge=1)
    disk_gb: int | None = Field(None, ge=0)
    lease_days: int | None = Field(None, ge=1)
    reason: str = Field("", max_length=1000, description="For who approves it")
    source: str | None = Field(None, description="Name of the cluster of a guest")
    vmid: int | None = Field(None, ge=1, le=999_999_999, description="Guest or template to clone")
    full: bool | None = Field(None, description="False makes a linked clone of a template")
    storage: str | None = None
    target: str | None = Field(None, description="Node on which it shall stand")
    pool: str | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "CloneRequest":
        if (self.item is None) == (self.vmid is None):
            raise ValueError("Name an item of the catalogue, or source and vmid of a guest.")
        if sum((bool(self.name), bool(self.names), self.count is not None)) > 1:
            raise ValueError("Give one of name, names and count.")
        return self


@router.post(
    "/clones",
    response={200: Accepted, 401: ErrorBody, 403: ErrorBody, 409: ErrorBody, 422: ErrorBody},
    operation_id="order_clones",
    summary="Order or clone machines",
    description="An item of the catalogue, one machine or many: `order_…` is pending while it waits for approval or "
    "in the queue, then follows its clones, and is completed when the machines are ready. With `source` and `vmid` "
    "a guest is cloned: `sub_…` follows the task that does it.",
    openapi_extra={
        "parameters": [KEY_HEADER],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": CloneRequest.model_json_schema()}},
        },
    },
)
def order_clones(request: ApiRequest) -> HttpResponse:
    wanted = _parse(read_json(request))
    return _order(request, wanted) if wanted.item is not None else _clone_guest(request, wanted)


def _parse(body: dict[str, Any]) -> CloneRequest:
    try:
        return CloneRequest.model_validate(body)
    except ValidationError as error:
        fields = {}
        for each in error.errors():
            text = each["msg"].removeprefix("Value error, ").rstrip(".") + "."
            fields[str(each["loc"][0]) if each["loc"] else "body"] = text
        raise invalid(**fields) from None


def _order(request: ApiRequest, wanted: CloneRequest) -> HttpResponse:
    item = choose_item(request.user, wanted.item)
    mine = Team.objects.all() if request.user.is_superuser else Team.objects.of(request.user)
    teams = mine.filter(items=item)
    if not teams.exists():
        raise NotPermitted(f"None of your teams has been given “{item}”.")
    team = choose_team(teams, wanted.team, is_needed=True)
    assert team is not None
    try:
        order = submit_order(
            request.user,
            item=item,
            team=team,
            rows=_rows(wanted),
            size=_size(item, wanted),
            lease_days=wanted.lease_days,
            reason=wanted.reason,
            idempotency_key=idempotency_key(request),
        )
    except InvalidInput as error:
        raise _of_rows(error, len(_rows(wanted))) from error
    is_waiting = order.decision == Order.Decision.WAITING
    message = (
        "Order submitted. It waits for approval." if is_waiting else "Order submitted. Ask for its status."
    )
    state = order_state([machine_state(machine) for machine in order.machines.all()])
    return accepted(request, f"order_{order.pk}", message, status=state)


def _rows(wanted: CloneRequest) -> list[Wanted]:
    return [Wanted(name=name) for name in wanted.names or [wanted.name] * (wanted.count or 1)]


def _size(item: CatalogItem, wanted: CloneRequest) -> Size:
    """A named size, numbers of one's own, or the item's first."""
    if wanted.size is not None:
        return Size(key=wanted.size)
    if wanted.cores is None and wanted.memory_mb is None and wanted.disk_gb is None:
        return Size(key=str(item.sizes[0]["key"]) if item.sizes else CUSTOM)
    return Size(wanted.cores or 0, wanted.memory_mb or 0, wanted.disk_gb or 0)


def _of_rows(error: InvalidInput, count: int) -> ApiError:
    """For a single machine `row-1-name` is simply `name`."""
    return invalid(
        **{name.removeprefix("row-1-") if count == 1 else name: text for name, text in error.fields.items()}
    )


def _clone_guest(request: ApiRequest, wanted: CloneRequest) -> HttpResponse:
    seen = Guest.objects.visible_to(request.user).select_related("source")
    rows = list(seen.filter(vmid=wanted.vmid or 0, gone_at__isnull=True)[:20])
    if wanted.source is not None:
        rows = [row for row in rows if row.source.name == wanted.source]
    if not rows:
        raise invalid(vmid="There is no such guest.")
    if len(rows) > 1:
        names = ", ".join(row.source.name for row in rows)
        raise invalid(source=f"Several sources have this guest. Say which is meant: {names}.")
    asked = {
        "name": wanted.name,
        "full": wanted.full,
        "storage": wanted.storage,
        "target": wanted.target,
        "pool": wanted.pool,
        "description": wanted.description,
    }
    submission = submit_guest_action(
        rows[0],
        actor=request.user,
        action=Submission.Action.CLONE,
        parameters={name: value for name, value in asked.items() if value is not None},
        idempotency_key=idempotency_key(request),
    )
    return accepted(
        request, f"sub_{submission.pk}", "Clone submitted. Ask for its status.", status=submission.state
    )
