"""What every action on a guest shares: its lock, its task, and what becomes of the guest."""

from collections.abc import Callable

from demo.proxmox import schema
from demo.proxmox.api import Call
from demo.proxmox.cluster import Cluster
from demo.proxmox.guests import Guest
from demo.proxmox.schema import Param
from demo.proxmox.scripts import Tape, error_script
from demo.proxmox.tasks import Script

SKIPLOCK = {"skiplock": Param(schema.boolean)}
LOCK_SECONDS = 10.0


def lock_path(vmid: int, kind: str) -> str:
    return (
        f"/var/lock/qemu-server/lock-{vmid}.conf"
        if kind == "qemu"
        else f"/run/lock/lxc/pve-config-{vmid}.lock"
    )


def wait_for_lock(
    cluster: Cluster, vmid: int, kind: str, *, timeout: float = LOCK_SECONDS, exclusive: bool = True
) -> float | Script:
    """Seconds to wait for the guest's file lock, or how the task fails for want of it."""
    holder = cluster.holder(vmid, exclusive=exclusive)
    if holder is None:
        return 0.0
    left = (holder.due - cluster.now()) / holder.scale if holder.scale else 0.0
    if left <= timeout:
        return max(left, 0.1)
    error = f"can't lock file '{lock_path(vmid, kind)}' - got timeout"
    return error_script(error, "trying to acquire lock...", seconds=timeout)


def change(
    call: Call,
    guest: Guest,
    type: str,
    write: Callable[[Tape], object],
    *,
    done: Callable[[float], object] | None = None,
    failure: str | None = None,
    ignore_lock: bool = False,
    seconds: float = 0.4,
) -> str:
    """Start a task that holds the guest's lock; `write` prints its log, `done` applies it when it ends well."""
    cluster = call.cluster
    wait = wait_for_lock(cluster, guest.vmid, guest.kind)
    if guest.lock and not ignore_lock:
        failure = failure or f"{'VM' if guest.kind == 'qemu' else 'CT'} is locked ({guest.lock})"

    def build(tape: Tape) -> Script:
        if isinstance(wait, Script):
            return wait
        if wait:
            tape.say("trying to acquire lock...", wait=wait)
            tape.say(" OK")
        if failure:
            tape.at += 0.05
            return tape.script(failure)
        tape.at += seconds / 2
        end = write(tape)
        tape.at += seconds / 2
        return tape.script(end if isinstance(end, str) else "OK")

    def finish(status: str, at: float) -> None:
        if guest.lock in ("snapshot", "rollback", "snapshot-delete"):
            guest.lock = None
        if done and (status == "OK" or status.startswith("WARNINGS")):
            done(at)
        if guest.vmid in cluster.guests:
            cluster.save(guest)

    locks = () if isinstance(wait, Script) or failure else ((guest.vmid, True),)
    return cluster.start_task(
        type=type,
        id=str(guest.vmid),
        user=call.who.authid,
        node=call.node,
        build=build,
        on_end=finish,
        locks=locks,
    ).name


def prefix(guest: Guest) -> str:
    return "qm" if guest.kind == "qemu" else "vz"


def set_running(guest: Guest) -> Callable[[float], None]:
    def apply(at: float) -> None:
        guest.status, guest.started_at, guest.paused = "running", at, False
        guest.config |= guest.pending
        guest.pending = {}

    return apply


def set_stopped(guest: Guest) -> Callable[[float], None]:
    def apply(_at: float) -> None:
        guest.status, guest.paused = "stopped", False
        guest.config |= guest.pending
        guest.pending = {}

    return apply
