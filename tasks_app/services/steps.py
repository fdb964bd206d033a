"""The steps of a machine's making: the submission of each stage, every parameter decided by item and order."""

from datetime import datetime
from typing import Any

from tasks_app.errors import InvalidInput
from tasks_app.models import CatalogItem, Guest, Machine, Stage, Submission
from tasks_app.services.guest_actions import parse_parameters
from tasks_app.services.guest_parameters import ConfigureParameters, NewGuest
from tasks_app.services.names import cidr_of
from tasks_app.services.placement import template_of

Action = Submission.Action
_ACTIONS: dict[str, Submission.Action] = {
    Stage.CONFIGURE: Action.CONFIGURE,
    Stage.RESIZE: Action.RESIZE,
    Stage.START: Action.START,
}


def key_of(machine: Machine, step: str) -> str:
    """The idempotency key: one submission per step and attempt."""
    return f"machine-{machine.pk}-{step}-{machine.attempt}"


def find_submission(machine: Machine, step: str) -> Submission | None:
    """The submission of this step in the present attempt."""
    return Submission.objects.filter(machine=machine, idempotency_key=key_of(machine, step)).first()


def create_submission(machine: Machine, step: str, *, at: datetime, disk: str = "") -> Submission:
    """Write down the call of `step`. Raises InvalidInput when it cannot be made as ordered."""
    item = machine.item
    if step != Stage.CLONE:
        action = _ACTIONS[step]
        return _save(machine, step, action, _parameters(machine, action, disk), at=at)
    if item is None:
        raise InvalidInput(item="The catalogue item was removed.")
    if item.kind == CatalogItem.Kind.LXC_CREATE:
        return _save(machine, step, Action.CREATE, _creation(machine, item), at=at, new_vmid=machine.vmid)
    template = template_of(item)
    if template is None:
        raise InvalidInput(item=f"The template {item.vmid} is not on the source any more.")
    values = {
        "name": machine.name,
        "full": item.full_clone,
        "storage": machine.storage if item.full_clone else "",
        "pool": item.pool,
        "target": machine.node if machine.node != template.node else "",
    }
    target = NewGuest(template.kind, template.is_template)
    parameters = parse_parameters(Action.CLONE, target, values)
    return _save(machine, step, Action.CLONE, parameters, at=at, new_vmid=machine.vmid, origin=template)


def settings_of(machine: Machine) -> ConfigureParameters:
    """What the guest shall be like when it is configured. For a container made from an OS template: when it is made."""
    item, is_vm = machine.item, machine.kind == Guest.QEMU
    is_clone = item is not None and item.kind != CatalogItem.Kind.LXC_CREATE
    ip, gateway = _address(machine) if is_clone and item and (is_vm or item.bridge) else ("", "")
    return ConfigureParameters(
        name=machine.name,
        cores=machine.cores,
        memory_mb=machine.memory_mb,
        description=describe(machine),
        ci_user=item.ci_user if item and is_vm else "",
        ssh_keys=machine.ssh_keys if is_vm else "",
        ip=ip,
        gateway=gateway,
        bridge=item.bridge if item and ip and not is_vm else "",
    )


def describe(machine: Machine) -> str:
    """The description of the guest on its source."""
    what = machine.item.title if machine.item else "A machine"
    return f"{what} of {machine.owner_name} ({machine.team}), ordered by {machine.order.actor_name} in the task portal."


def _parameters(machine: Machine, action: Submission.Action, disk: str) -> dict[str, Any]:
    target = NewGuest(machine.kind)
    match action:
        case Action.CONFIGURE:
            wanted = settings_of(machine)
            return parse_parameters(
                action, target, {name: getattr(wanted, name) for name in wanted.__dataclass_fields__}
            )
        case Action.RESIZE:
            return parse_parameters(action, target, {"disk": disk, "size_gb": machine.grow_disk_gb})
    return parse_parameters(action, target, {})


def _creation(machine: Machine, item: CatalogItem) -> dict[str, Any]:
    ip, gateway = _address(machine)
    values = {
        "ostemplate": item.ostemplate,
        "storage": machine.storage,
        "disk_gb": machine.grow_disk_gb or machine.disk_gb,
        "name": machine.name,
        "cores": machine.cores,
        "memory_mb": machine.memory_mb,
        "bridge": item.bridge,
        "ip": ip,
        "gateway": gateway,
        "ssh_keys": machine.ssh_keys,
        "pool": item.pool,
        "description": describe(machine),
    }
    return parse_parameters(Action.CREATE, NewGuest(Guest.LXC), values)


def _address(machine: Machine) -> tuple[str, str]:
    """`ip` and `gateway` as the source takes them."""
    item = machine.item
    if item is None or item.ip_mode == CatalogItem.IpMode.NONE:
        return "", ""
    if item.ip_mode == CatalogItem.IpMode.DHCP:
        return "dhcp", ""
    if not machine.static_ip:
        raise InvalidInput(ip="No address is reserved for it.")
    try:
        return cidr_of(item, machine.static_ip), str(item.ip_pool.get("gateway") or "")
    except (KeyError, ValueError):
        raise InvalidInput(ip="The item's pool of addresses has no usable network.") from None


def _save(
    machine: Machine,
    step: str,
    action: Submission.Action,
    parameters: dict[str, Any],
    *,
    at: datetime,
    new_vmid: int | None = None,
    origin: Guest | None = None,
) -> Submission:
    order = machine.order
    assert machine.vmid is not None
    return Submission.objects.create(
        source_id=machine.source_id,
        action=action,
        guest_kind=machine.kind,
        node=origin.node if origin else machine.node,
        vmid=origin.vmid if origin else machine.vmid,
        guest_name=origin.name if origin else machine.name,
        parameters=parameters,
        new_vmid=new_vmid,
        machine=machine,
        step=step,
        actor=order.actor,
        actor_name=order.actor_name,
        request_id=order.request_id,
        idempotency_key=key_of(machine, step),
        created_at=at,
        next_attempt_at=at,
    )
