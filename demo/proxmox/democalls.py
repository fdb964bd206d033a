"""The demo's own calls below /demo/, for benches and browser tests: faults, tasks, figures."""

import json
from dataclasses import asdict
from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import Call, invalid, route
from demo.proxmox.faults import KINDS, Fault
from demo.proxmox.inventory import NODES
from demo.proxmox.load import script_of, start_load
from demo.proxmox.schema import Invalid, Param

MAX_LOAD = 20_000


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Invalid(f"type check ('number') failed - got '{text}'") from None


def _lines(text: str) -> list[tuple[float, str]]:
    try:
        return [(float(delay), str(line)) for delay, line in json.loads(text)]
    except (ValueError, TypeError):
        raise Invalid("a list of [seconds, text] is needed") from None


@route("GET", "/demo/faults")
def list_faults(call: Call) -> list[dict[str, Any]]:
    return [asdict(fault) for fault in call.cluster.faults.listed()]


@route(
    "POST",
    "/demo/faults",
    params={
        "kind": Param(schema.choice(*KINDS), required=True),
        "value": Param(_number),
        "path": Param(schema.string()),
        "method": Param(schema.choice("GET", "POST", "PUT", "DELETE")),
        "subject": Param(schema.string()),
        "text": Param(schema.string()),
        "times": Param(schema.integer(0)),
        "seconds": Param(_number),
    },
)
def add_fault(call: Call) -> None:
    """`seconds` ends it by itself."""
    params = dict(call.params)
    seconds = params.pop("seconds", 0.0)
    fault = Fault(**params, until=call.now + seconds if seconds else 0.0)
    call.cluster.faults.add(fault)
    call.cluster.apply_conditions()


@route(
    "DELETE", "/demo/faults", params={"kind": Param(schema.choice(*KINDS)), "subject": Param(schema.string())}
)
def clear_faults(call: Call) -> None:
    call.cluster.faults.clear(call.params.get("kind", ""), call.params.get("subject", ""))
    call.cluster.apply_conditions()


@route(
    "POST",
    "/demo/tasks",
    params={
        "count": Param(schema.integer(1, MAX_LOAD)),
        "seconds": Param(_number),
        "spread": Param(_number),
        "moving": Param(schema.boolean),
        "type": Param(schema.string()),
        "id": Param(schema.string()),
        "node": Param(schema.choice(*NODES)),
        "user": Param(schema.string()),
        "lines": Param(_lines),
        "end": Param(schema.string()),
        "ignores_stop": Param(schema.boolean),
    },
)
def add_tasks(call: Call) -> list[str]:
    """With `lines` one scripted task, else `count` simulated ones; answers the UPIDs."""
    params = call.params
    seconds = params.get("seconds")
    if "lines" in params or "type" in params:
        if "count" in params:
            raise invalid(count="not together with 'lines' or 'type'")
        script = script_of(
            params.get("lines", []),
            params.get("end", "OK"),
            seconds=seconds,
            ignores_stop=params.get("ignores_stop", False),
        )
        task = call.cluster.start_task(
            type=params.get("type", "qmstart"),
            id=params.get("id", "100"),
            user=params.get("user", "root@pam"),
            node=params.get("node", "pve1"),
            build=script,
        )
        return [task.name]
    tasks = start_load(
        call.cluster,
        params.get("count", 1),
        seconds if seconds is not None else 30.0,
        moving=params.get("moving", True),
        end=params.get("end", "OK"),
        spread=params.get("spread", 0.0),
    )
    return [task.name for task in tasks]


@route("GET", "/demo/stats")
def stats(call: Call) -> dict[str, Any]:
    """Requests per method and path pattern since the start, and how many tasks there are."""
    cluster = call.cluster
    return {
        "requests": dict(cluster.requests),
        "running": cluster.running_count(),
        "known": len(cluster.tasks),
        "guests": len(cluster.guests),
    }
