"""The calls about tasks, with the habits of pve-manager's API2/Tasks.pm and Cluster.pm."""

import gzip
import re
import time
from collections.abc import Iterator

from demo.proxmox import schema
from demo.proxmox.api import Call, Reply, invalid, refuse, route
from demo.proxmox.schema import Invalid, Param
from demo.proxmox.tasks import Row, Task, make_row
from demo.proxmox.upid import parse_upid, split_user

DEFAULT_LIMIT = 50
_STATUS_CLASSES = ("ok", "error", "warning", "unknown")


def classify_status(status: str | None) -> str:
    """The four classes of `statusfilter`; a running task (None) counts as unknown."""
    if status is None or status == "unexpected status":
        return "unknown"
    if status == "OK":
        return "ok"
    return "warning" if re.fullmatch(r"WARNINGS: \d+", status) else "error"


def _status_list(text: str) -> set[str]:
    wanted = set(re.split(r"[,; ]+", text))
    for name in sorted(wanted):
        if name not in _STATUS_CLASSES:
            raise Invalid(f"invalid format - invalid status '{name}'\n")
    return wanted


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> list[Row]:
    sees_all = call.allowed("/", "Sys.Audit")
    if not sees_all and call.who.token:
        return []
    running: list[Row] = []
    finished: list[Row] = []
    for name, node in call.cluster.nodes.items():
        if not call.cluster.is_online(name):
            continue
        for task in (pair := node.broadcast())[0] + pair[1]:
            if not sees_all and not call.who.owns(task.upid.user):
                continue
            row = make_row(task, split=True, pstart=False)
            if task.ended is None:
                running.append(row | {"saved": "0"})
            else:
                del row["pid"]
                finished.append(row | {"saved": "1", "endtime": task.end_time, "status": task.status or ""})
    finished.sort(key=lambda row: -int(row["starttime"]))
    return running + finished


@route(
    "GET",
    "/nodes/{node}/tasks",
    params={
        "start": Param(schema.integer(0)),
        "limit": Param(schema.integer(0)),
        "since": Param(schema.integer()),
        "until": Param(schema.integer()),
        "source": Param(schema.choice("archive", "active", "all")),
        "typefilter": Param(schema.string()),
        "userfilter": Param(schema.string()),
        "statusfilter": Param(_status_list),
        "vmid": Param(schema.integer(1)),
        "errors": Param(schema.boolean),
    },
)
def node_tasks(call: Call) -> Reply:
    """Running tasks first, then newest completion first; `total` is missing when nothing matches."""
    start, limit = call.params.get("start", 0), call.params.get("limit", DEFAULT_LIMIT)
    rows: list[Row] = []
    total = 0
    sees_all = call.allowed(f"/nodes/{call.node}", "Sys.Audit")
    for task in _candidates(call):
        if not (sees_all or call.who.owns(task.upid.user)) or not _matches(call, task):
            continue
        if start <= total < start + limit:
            rows.append(_list_row(task))
        total += 1
    return Reply(rows, total=total or None)


def _candidates(call: Call) -> Iterator[Task]:
    node = call.cluster.nodes[call.node]
    source = call.params.get("source", "archive")
    if source in ("active", "all"):
        yield from list(node.running.values())
    if source in ("archive", "all"):
        yield from node.finished()


def _matches(call: Call, task: Task) -> bool:
    wanted, upid = call.params, task.upid
    if not wanted.get("since", 0) <= upid.starttime <= wanted.get("until", upid.starttime):
        return False
    if "typefilter" in wanted and wanted["typefilter"] != upid.type:
        return False
    if "userfilter" in wanted and wanted["userfilter"].lower() not in split_user(upid.user)[0].lower():
        return False
    if "vmid" in wanted and str(wanted["vmid"]) != upid.id:
        return False
    if wanted.get("errors"):
        return task.status != "OK"
    return "statusfilter" not in wanted or classify_status(task.status) in wanted["statusfilter"]


def _list_row(task: Task) -> Row:
    if task.ended is None:
        return make_row(task, split=False) | {"saved": "0", "status": "RUNNING"}
    return make_row(task, split=True) | {"endtime": task.end_time, "status": task.status or ""}


@route("GET", "/nodes/{node}/tasks/{upid}")
def task_index(call: Call) -> list[Row]:
    return [{"name": "log"}, {"name": "status"}]


@route("GET", "/nodes/{node}/tasks/{upid}/status", protected=True)
def task_status(call: Call) -> Row:
    task = _find(call)
    if task is None:
        raise invalid(upid="no such task")
    _require_owner(call, task.upid.user, "Sys.Audit")
    row = make_row(task, split=True)
    if task.ended is None:
        return row | {"status": "running"}
    return row | {"status": "stopped", "exitstatus": task.status or ""}


@route(
    "GET",
    "/nodes/{node}/tasks/{upid}/log",
    protected=True,
    params={
        "start": Param(schema.integer(0)),
        "limit": Param(schema.integer(0)),
        "download": Param(schema.boolean),
    },
)
def task_log(call: Call) -> Reply:
    upid = parse_upid(call.path["upid"])
    if upid is None:
        raise invalid(upid="unable to parse worker upid")
    _require_owner(call, upid.user, "Sys.Audit")
    task = _find(call)
    if call.params.get("download"):
        if "start" in call.params or "limit" in call.params:
            raise refuse("'download' cannot be used together with 'start' or 'limit' parameters")
        return _download(call, task)
    if task is None:
        return Reply([{"n": 1, "t": "unable to open file - No such file or directory"}], total=1)
    total = task.count_lines(call.now)
    if total == 0:
        return Reply([{"n": 1, "t": "no content"}], total=1)
    lines = task.log_lines(call.now, call.params.get("start", 0), call.params.get("limit", DEFAULT_LIMIT))
    return Reply([{"n": number, "t": encode_twice(text)} for number, text in lines], total=total)


def encode_twice(text: str) -> str:
    """Log bytes are taken for Latin-1 and encoded again: `ä` arrives as `Ã¤`."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _download(call: Call, task: Task | None) -> Reply:
    if task is None:
        raise refuse("unable to open file - No such file or directory")
    lines = task.log_lines(call.now, 0, 0)
    body = "".join(f"{text}\n" for _, text in lines).encode("utf-8", "surrogateescape")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(task.started))
    name = f"task-{call.node}-{task.upid.type}-{stamp}.log"
    headers = {"Content-Type": "text/plain", "Content-Disposition": f'attachment; filename="{name}"'}
    if len(body) > 1024:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return Reply(raw=body, headers=headers)


@route("DELETE", "/nodes/{node}/tasks/{upid}", protected=True)
def stop_task(call: Call) -> Reply:
    """Blocks until the worker is gone; a finished task is no error."""
    task = _find(call)
    if task is None:
        raise invalid(upid="no such task")
    _require_owner(call, task.upid.user, "Sys.Modify")
    return Reply(None, delay=call.cluster.stop_task(task))


def _find(call: Call) -> Task | None:
    upid = parse_upid(call.path["upid"])
    if upid is None:
        raise invalid(upid="unable to parse worker upid")
    task = call.cluster.tasks.get(call.path["upid"])
    return task if task and task.upid.node == call.node else None


def _require_owner(call: Call, authid: str, privilege: str) -> None:
    if not call.who.owns(authid):
        call.require(f"/nodes/{call.node}", privilege)
