"""The settings a configured guest shall have: which options are sent, and which of them it has not yet; pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tasks_app.services.guest_parameters import ConfigureParameters, CreateParameters
from tasks_app.sources.proxmox.deeds import normalise_keys


def settings_to_send(kind: str, wanted: ConfigureParameters) -> tuple[dict[str, str | int], tuple[str, ...]]:
    """Options with their values, and the options to remove, as `ProxmoxSource.configure_guest` takes them."""
    values: dict[str, str | int] = {
        "name" if kind == "qemu" else "hostname": wanted.name,
        "cores": wanted.cores,
        "memory": wanted.memory_mb,
        "tags": wanted.tags,
        "description": wanted.description,
        "ciuser": wanted.ci_user,
        "sshkeys": wanted.ssh_keys,
    }
    if wanted.ip and kind == "qemu":
        values["ipconfig0"] = _address(wanted.ip, wanted.gateway)
    if wanted.cores and kind == "qemu":
        values["sockets"] = 1  # of the template's two sockets each would get that many cores
    if kind == "lxc":
        values["net0"] = network_card(wanted)
    removed = tuple(name for name in ("tags", "description") if not values[name])
    return {name: value for name, value in values.items() if value}, ("protection", *removed)


def network_card(wanted: ConfigureParameters | CreateParameters) -> str:
    """The value of a container's net0; "" without a bridge."""
    if not wanted.bridge:
        return ""
    address = f",{_address(wanted.ip, wanted.gateway)}" if wanted.ip else ""
    return f"name=eth0,bridge={wanted.bridge}{address}"


def differences(kind: str, wanted: ConfigureParameters, config: Mapping[str, Any]) -> list[str]:
    """Names of the options that `config`, read from the guest, has otherwise than ordered."""
    values, removed = settings_to_send(kind, wanted)
    found = [name for name, value in values.items() if not _is_same(name, value, config.get(name))]
    found += [name for name in removed if str(config.get(name, "")).strip() not in ("", "0")]
    return sorted(found)


def _address(ip: str, gateway: str) -> str:
    return f"ip={ip},gw={gateway}" if gateway else f"ip={ip}"


def _is_same(name: str, wanted: str | int, has: object) -> bool:
    """Numbers may come as text, tags in another order, keys percent-encoded, a network card with its new MAC."""
    text = "" if has is None else str(has)
    match name:
        case "sockets":
            return text in ("", str(wanted))
        case "sshkeys":
            return normalise_keys(unquote(text)) == normalise_keys(str(wanted))
        case "tags":
            return sorted(text.split(";")) == sorted(str(wanted).split(";"))
        case "description":
            return text.splitlines() == str(wanted).splitlines()
        case "net0":
            return set(str(wanted).split(",")) <= set(text.split(","))
        case "ipconfig0":
            return set(text.split(",")) == set(str(wanted).split(","))
    return text == str(wanted)
