"""Power: start, stop, shutdown, reboot, reset, suspend and resume."""

from demo.proxmox import schema
from demo.proxmox.actions import SKIPLOCK, change, prefix, set_running, set_stopped
from demo.proxmox.api import Call, needs, refuse, route
from demo.proxmox.guestcalls import guest_route
from demo.proxmox.guests import Guest
from demo.proxmox.inventory import NODES
from demo.proxmox.schema import Param
from demo.proxmox.scripts import Tape, error_script

_power = needs("/vms/{vmid}", "VM.PowerMgmt")


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/status/start",
    protected=True,
    check=_power,
    params=SKIPLOCK | {"timeout": Param(schema.integer(0))},
)
def start_machine(call: Call) -> str:
    """Also of an unknown or running VM: the answer is a UPID, the error is in the task."""
    known = call.cluster.guests.get(call.vmid)
    if known is None or known.kind != "qemu" or known.node != call.node:
        error = f"Configuration file 'nodes/{call.node}/qemu-server/{call.vmid}.conf' does not exist"
        return call.cluster.start_task(
            type="qmstart", id=str(call.vmid), user=call.who.authid, node=call.node, build=error_script(error)
        ).name
    guest = known

    def write(tape: Tape) -> str | None:
        if "ide2" in guest.config:
            tape.say("generating cloud-init ISO", wait=0.3)
        if guest.memory > NODES[guest.node].memory:
            tape.say("kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory")
            return "start failed: QEMU exited with code 1"
        if guest.config.get("bios") == "ovmf" and "efidisk0" not in guest.config:
            tape.say("WARN: no efidisk configured! Using temporary efivars disk.")
            return "WARNINGS: 1"
        return None

    failure = None
    if guest.is_template:
        failure = "you can't start a vm if it's a template"
    elif guest.is_running:
        failure = f"VM {guest.vmid} already running"
    elif guest.cpus > NODES[guest.node].cpus:
        failure = f"MAX {NODES[guest.node].cpus} vcpus allowed per VM on this node"
    return change(call, guest, "qmstart", write, done=set_running(guest), failure=failure, seconds=1.6)


@guest_route("POST", "/status/start", kinds=("lxc",), protected=True, check=_power, params=SKIPLOCK)
def start_container(call: Call, guest: Guest) -> str:
    if guest.is_running:
        raise refuse(f"CT {guest.vmid} already running")
    if guest.is_template:
        raise refuse("you can't start a CT if it's a template")
    return change(call, guest, "vzstart", lambda tape: None, done=set_running(guest), seconds=1.2)


def _require_running(guest: Guest) -> None:
    if not guest.is_running:
        raise refuse(f"{'VM' if guest.kind == 'qemu' else 'CT'} {guest.vmid} not running")


@guest_route(
    "POST",
    "/status/stop",
    protected=True,
    check=_power,
    params=SKIPLOCK | {"timeout": Param(schema.integer(0)), "overrule-shutdown": Param(schema.boolean)},
)
def stop(call: Call, guest: Guest) -> str:
    if guest.kind == "lxc":
        _require_running(guest)
    seconds = 0.8 if guest.is_running else 0.1
    return change(
        call, guest, f"{prefix(guest)}stop", lambda tape: None, done=set_stopped(guest), seconds=seconds
    )


@guest_route(
    "POST",
    "/status/shutdown",
    protected=True,
    check=_power,
    params=SKIPLOCK
    | {
        "timeout": Param(schema.integer(0)),
        "forceStop": Param(schema.boolean),
        "keepActive": Param(schema.boolean),
    },
)
def shutdown(call: Call, guest: Guest) -> str:
    """A VM whose agent is silent does not react: timeout, or hard end with forceStop."""
    if guest.kind == "lxc":
        _require_running(guest)
    timeout = call.params.get("timeout", 60)

    def write(tape: Tape) -> str | None:
        if not guest.is_running:
            return None
        if guest.agent_answers:
            tape.at += min(timeout, 4.0)
            return None
        tape.at += 3.0
        tape.say(
            f"QEMU Guest Agent is not running - VM {guest.vmid} qga command 'guest-ping' failed - got timeout"
        )
        tape.at += timeout
        if not call.params.get("forceStop"):
            return "VM quit/powerdown failed - got timeout"
        tape.say("VM still running - terminating now with SIGTERM")
        return None

    return change(call, guest, f"{prefix(guest)}shutdown", write, done=set_stopped(guest), seconds=0.2)


@guest_route(
    "POST", "/status/reboot", protected=True, check=_power, params={"timeout": Param(schema.integer(0))}
)
def reboot(call: Call, guest: Guest) -> str:
    _require_running(guest)
    timeout = call.params.get("timeout", 60)

    def write(tape: Tape) -> str | None:
        if guest.agent_answers:
            tape.at += 5.0
            return None
        tape.at += 3.0
        tape.say(
            f"QEMU Guest Agent is not running - VM {guest.vmid} qga command 'guest-ping' failed - got timeout"
        )
        tape.at += timeout
        return "VM quit/powerdown failed - got timeout"

    return change(call, guest, f"{prefix(guest)}reboot", write, done=set_running(guest), seconds=0.2)


@guest_route("POST", "/status/reset", kinds=("qemu",), protected=True, check=_power, params=SKIPLOCK)
def reset(call: Call, guest: Guest) -> str:
    _require_running(guest)
    return change(call, guest, "qmreset", lambda tape: None, done=set_running(guest), seconds=0.1)


@guest_route(
    "POST",
    "/status/suspend",
    protected=True,
    check=_power,
    params=SKIPLOCK | {"todisk": Param(schema.boolean)},
)
def suspend(call: Call, guest: Guest) -> str:
    _require_running(guest)

    def pause(_at: float) -> None:
        guest.paused = True

    return change(
        call, guest, "qmpause" if guest.kind == "qemu" else "vzsuspend", lambda tape: None, done=pause
    )


@guest_route(
    "POST",
    "/status/resume",
    protected=True,
    check=_power,
    params=SKIPLOCK | {"nocheck": Param(schema.boolean)},
)
def resume(call: Call, guest: Guest) -> str:
    def go_on(_at: float) -> None:
        guest.paused = False

    return change(call, guest, f"{prefix(guest)}resume", lambda tape: None, done=go_on)
