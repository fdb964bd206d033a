"""What people and machines do in a day, one function for each sort of work."""

from demo.data import backups, fates, power
from demo.data.diary import BUILDING, OFFICE, Diary
from demo.data.fates import Routine
from demo.data.ground import (
    ALICE,
    BOB,
    BUILD_IDS,
    BUILDS,
    CAROL,
    DARK_SECONDS,
    DAY,
    MAINTENANCE_DAYS,
    ORDER_IDS,
    PORTAL,
    POWER_LOSS_NODE,
    ROOT,
    SNAPSHOTS,
    TRIAL_IDS,
    Move,
    make_copy,
)
from demo.proxmox.guests import Guest
from demo.proxmox.inventory import CONTAINER_TEMPLATES, NODES

HOUR = 3600
NIGHTLY = 1 * HOUR
PEOPLE = (ALICE, ALICE, ALICE, BOB, BOB, CAROL, ROOT)


def write_day(diary: Diary) -> None:
    """All of a day. Moves come first: everything else asks where a guest is."""
    diary.ground.moves = []
    if any(diary.ground.day_before(diary.day, days) for days in MAINTENANCE_DAYS):
        _maintain(diary)
    _migrate(diary)
    _migrate_containers(diary)
    _back_up(diary)
    _take_snapshots(diary)
    _look_after_nodes(diary)
    _build(diary)
    _order(diary)
    _use_consoles(diary)
    _switch(diary)
    _use_containers(diary)
    _change(diary)
    if diary.day == diary.ground.power_loss // DAY:
        _lose_power(diary)


def _mean(diary: Diary, workday: float, weekend: float) -> int:
    return diary.about(workday if diary.is_workday else weekend)


def _back_up(diary: Diary) -> None:
    """At one o'clock all guests of each node, every six hours the databases, by day what is about to be changed."""
    ground, rng = diary.ground, diary.rng
    for node in NODES:
        at = diary.start + NIGHTLY + rng.uniform(1, 9)
        diary.note(fates.BACKUP, at, ROOT, guests=tuple(ground.on(node)), node=node)
        diary.note(fates.PRUNE, diary.start + 6 * HOUR + rng.uniform(0, 60), ROOT, node=node, id="nas")
    for hour in (5, 11, 17, 23):
        for vmid in (101, 105, 106, 108):
            at = diary.start + hour * HOUR + rng.uniform(1, 40)
            diary.note(fates.BACKUP, at, ROOT, guest=ground.guests[vmid])
    for _ in range(_mean(diary, 5, 0.6)):
        guest = rng.choice(ground.machines)
        diary.note(fates.BACKUP, diary.moment(OFFICE), rng.choice(PEOPLE), guest=guest)


def _take_snapshots(diary: Diary) -> None:
    """Every four hours, the oldest removed; the one during the backup meets its lock now and then."""
    ground, rng = diary.ground, diary.rng
    for hour in range(1, 24, 4):
        for vmid in (102, 103, 104, 107, 111, 112, 121):
            guest, at = ground.guests[vmid], diary.start + hour * HOUR + rng.uniform(300, 420)
            meets_backup = hour == 1 and rng.random() < 0.12
            writer = power.locked_by_backup if meets_backup else None
            name = f"auto_{hour:02}"
            taken = diary.note(fates.AUTO_SNAPSHOT, at, SNAPSHOTS, guest=guest, other=name, writer=writer)
            if taken.is_done:
                diary.note(fates.REMOVE_SNAPSHOT, taken.ended + 2, SNAPSHOTS, guest=guest)


def _look_after_nodes(diary: Diary) -> None:
    rng = diary.rng
    for node in NODES:
        diary.note(fates.UPDATE, diary.start + 4 * HOUR + rng.uniform(0, 2 * HOUR), ROOT, node=node)
    for _ in range(_mean(diary, 8, 0.8)):
        diary.note(
            fates.SHELL, diary.moment(OFFICE), rng.choice((ROOT, ROOT, ALICE)), node=rng.choice(list(NODES))
        )
    for _ in range(_mean(diary, 1.2, 0.1)):
        service = rng.choice(("chrony", "postfix", "pveproxy", "corosync"))
        diary.note(fates.SERVICE, diary.moment(OFFICE), ROOT, node=rng.choice(list(NODES)), id=service)
    for _ in range(_mean(diary, 0.4, 0)):
        name = rng.choice(CONTAINER_TEMPLATES)[0]
        diary.note(fates.DOWNLOAD, diary.moment(OFFICE), ALICE, node="pve1", id=name, other=name)
    for _ in range(_mean(diary, 1, 0.1)):
        volid = f"nas:backup/vzdump-qemu-{rng.randrange(100, 123)}-old.vma.zst"
        diary.note(fates.ERASE, diary.moment(OFFICE), rng.choice(PEOPLE), node="pve1", id="nas", other=volid)


def _build(diary: Diary) -> None:
    """The build server clones a machine, uses it for some minutes and throws it away."""
    ground, rng = diary.ground, diary.rng
    template = ground.guests[9000]
    for _ in range(_mean(diary, 78, 19)):
        vmid = rng.choice(BUILD_IDS)
        clone = diary.note(fates.CI_CLONE, diary.moment(BUILDING), BUILDS, guest=template, other=str(vmid))
        if not clone.is_done:
            continue
        made = make_copy(template, vmid, f"build-{vmid}", template.node)
        set_up = diary.note(fates.CONFIGURE, clone.ended + 1, BUILDS, guest=made)
        started = diary.note(fates.CI_START, set_up.ended + 1, BUILDS, guest=made)
        at = started.ended + 2
        if started.is_done:
            at = diary.note(fates.STOP, at + rng.uniform(90, 1500), BUILDS, guest=made).ended
        diary.note(fates.DESTROY, at + 2, BUILDS, guest=made)


def _order(diary: Diary) -> None:
    """The portal makes machines that people order, and removes them weeks later."""
    ground, rng = diary.ground, diary.rng
    for _ in range(_mean(diary, 9, 0.8)):
        template, vmid = ground.guests[rng.choice((9001, 9001, 9001, 9002))], rng.choice(ORDER_IDS)
        clone = diary.note(fates.ORDER_CLONE, diary.moment(OFFICE), PORTAL, guest=template, other=str(vmid))
        made = make_copy(template, vmid, f"web-{vmid}", template.node)
        at = clone.ended + 2
        for routine in (fates.CONFIGURE, fates.GROW, fates.CI_START) if clone.is_done else ():
            at = diary.note(routine, at, PORTAL, guest=made).ended + 2
    for _ in range(_mean(diary, 7, 0.5)):
        gone = make_copy(ground.guests[9001], rng.choice(ORDER_IDS), "", rng.choice(list(NODES)))
        stop = diary.note(fates.STOP, diary.moment(OFFICE), PORTAL, guest=gone)
        diary.note(fates.DESTROY, stop.ended + 2, PORTAL, guest=gone)


def _use_consoles(diary: Diary) -> None:
    rng = diary.rng
    guests = [*diary.ground.machines, *diary.ground.containers]
    for _ in range(_mean(diary, 72, 6)):
        diary.note(fates.CONSOLE, diary.moment(OFFICE), rng.choice(PEOPLE), guest=rng.choice(guests))


def _switch(diary: Diary) -> None:
    """Staging machines are used by day; others are restarted when somebody thinks that helps."""
    ground, rng = diary.ground, diary.rng
    if diary.is_workday:
        for vmid in (115, 120, 122, 123):
            guest, who = ground.guests[vmid], rng.choice(PEOPLE)
            morning = diary.start + 7.5 * HOUR + rng.uniform(0, 2 * HOUR)
            if diary.note(fates.START, morning, who, guest=guest).is_done:
                diary.note(
                    fates.SHUTDOWN, diary.start + 17 * HOUR + rng.uniform(0, 2 * HOUR), who, guest=guest
                )
    for _ in range(_mean(diary, 16, 2)):
        diary.note(fates.REBOOT, diary.moment(OFFICE), rng.choice(PEOPLE), guest=rng.choice(ground.running))
    for _ in range(_mean(diary, 18, 3)):
        guest, who = rng.choice(ground.running), rng.choice(PEOPLE)
        down = diary.note(fates.SHUTDOWN, diary.moment(OFFICE), who, guest=guest)
        at = down.ended + rng.uniform(5, 120)
        if not down.is_done:
            at = diary.note(fates.STOP, at, who, guest=guest).ended + 3
        diary.note(fates.START, at, who, guest=guest)


def _use_containers(diary: Diary) -> None:
    ground, rng = diary.ground, diary.rng
    for _ in range(_mean(diary, 6, 1)):
        guest, who = rng.choice(ground.containers), rng.choice(PEOPLE)
        down = diary.note(fates.CONTAINER_SHUTDOWN, diary.moment(OFFICE), who, guest=guest)
        diary.note(fates.CONTAINER_START, down.ended + rng.uniform(3, 60), who, guest=guest)
    for _ in range(_mean(diary, 4, 0.3)):
        guest = rng.choice(ground.containers)
        diary.note(fates.CONTAINER_SNAPSHOT, diary.moment(OFFICE), rng.choice(PEOPLE), guest=guest)
    for _ in range(_mean(diary, 2.2, 0.2)):
        vmid, node, who = str(rng.choice(TRIAL_IDS)), rng.choice(list(NODES)), rng.choice(PEOPLE)
        made = diary.note(fates.CREATE_CONTAINER, diary.moment(OFFICE), who, node=node, id=vmid, other=vmid)
        if made.is_done and rng.random() < 0.8:
            diary.note(fates.DESTROY_CONTAINER, made.ended + rng.uniform(600, 9000), who, node=node, id=vmid)


def _change(diary: Diary) -> None:
    """Snapshots before a change and back to them, disks grown and moved, restores, test machines on the file server."""
    ground, rng = diary.ground, diary.rng
    for _ in range(_mean(diary, 9, 1)):
        guest, who = rng.choice(ground.machines), rng.choice(PEOPLE)
        taken = diary.note(fates.SNAPSHOT, diary.moment(OFFICE), who, guest=guest, other="before_upgrade")
        if taken.is_done and rng.random() < 0.15:
            diary.note(fates.ROLL_BACK, taken.ended + rng.uniform(600, 5400), who, guest=guest)
    small = [guest for guest in ground.machines if power.size_of(guest) < 70 * 1024**3]
    for routine, workday in ((fates.GROW, 1.6), (fates.MOVE_DISK, 1.4), (fates.RESTORE, 0.8)):
        _at_will(diary, routine, workday, small)
    staging = [guest for guest in ground.machines if guest.disks()[0].storage == "nas"]
    for _ in range(_mean(diary, 6, 1.5)):
        guest, vmid, who = rng.choice(staging), rng.choice(TRIAL_IDS), rng.choice(PEOPLE)
        clone = diary.note(fates.CLONE_TO_NAS, diary.moment(OFFICE), who, guest=guest, other=str(vmid))
        if clone.is_done:
            made = make_copy(guest, vmid, f"test-{vmid}", guest.node)
            diary.note(fates.DESTROY, clone.ended + rng.uniform(1800, 20_000), who, guest=made)


def _at_will(diary: Diary, routine: Routine, workday: float, guests: list[Guest]) -> None:
    for _ in range(_mean(diary, workday, workday / 8)):
        guest = diary.rng.choice(guests)
        diary.note(routine, diary.moment(OFFICE), diary.rng.choice(PEOPLE), guest=guest)


def _migrate(diary: Diary) -> None:
    """A machine is moved to another node for some hours, to make room."""
    ground, rng = diary.ground, diary.rng
    chosen = rng.sample(ground.movable, min(len(ground.movable), _mean(diary, 4, 0.4)))
    for guest in chosen:
        if any(move.vmid == guest.vmid for move in ground.moves):
            continue
        who = rng.choice((ALICE, BOB, ROOT))
        at = diary.start + rng.uniform(8, 14) * HOUR
        _move(diary, guest, at, at + rng.uniform(1, 5) * HOUR, who)


def _migrate_containers(diary: Diary) -> None:
    """One that lies on shared storage stops for the move."""
    shared = [guest for guest in diary.ground.containers if guest.disks()[0].storage == "ceph-vm"]
    for _ in range(_mean(diary, 0.7, 0)):
        guest, who = diary.rng.choice(shared), diary.rng.choice(PEOPLE)
        target = diary.rng.choice([node for node in NODES if node != guest.node])
        at = diary.start + diary.rng.uniform(8, 12) * HOUR
        diary.note(fates.MIGRATE_CONTAINER, at, who, guest=guest, node=guest.node, other=target)
        diary.note(fates.MIGRATE_CONTAINER, at + 2 * HOUR, who, guest=guest, node=target, other=guest.node)


def _move(diary: Diary, guest: Guest, at: float, back: float, who: str) -> None:
    target = diary.rng.choice([node for node in NODES if node != guest.node])
    away = diary.note(fates.MIGRATE, at, who, guest=guest, other=target)
    if away.is_done:
        diary.note(fates.MIGRATE_BACK, back, who, guest=guest, node=target, other=guest.node)
        diary.ground.moves.append(Move(guest.vmid, target, away.ended, back))


def _maintain(diary: Diary) -> None:
    """In the evening each node in turn: its machines away, update, reboot, its machines back."""
    ground = diary.ground
    for node in NODES.values():
        at = diary.start + 18.5 * HOUR + node.number * 2700
        diary.note(fates.UPDATE, at - 300, ROOT, node=node.name)
        for number, guest in enumerate(guest for guest in ground.movable if guest.node == node.name):
            _move(diary, guest, at + 120 * number, at + 2400 + 90 * number, ROOT)
        staying = tuple(guest for guest in ground.on(node.name) if guest not in ground.movable)
        booted = ground.booted(node.name, at + 3600)
        diary.note(fates.BULK_START, booted + 45, ROOT, node=node.name, guests=staying)
        for number, guest in enumerate(guest for guest in staying if guest.is_running):
            routine = fates.START if guest.kind == "qemu" else fates.CONTAINER_START
            diary.note(
                routine, booted + 47 + 4 * number, ROOT, guest=guest, node=node.name, writer=power.quiet
            )


def _lose_power(diary: Diary) -> None:
    """What ran on the node at that moment has no end; its guests start with it."""
    ground = diary.ground
    for who, vmid in ((BOB, 105), (ROOT, 112)):
        at = ground.power_loss - diary.rng.uniform(30, 110)
        diary.note(fates.BACKUP, at, who, guest=ground.guests[vmid], writer=backups.backup)
    for vmid in (106, 109, 203, 206):
        at = ground.power_loss - diary.rng.uniform(2, 25)
        diary.note(
            fates.CONSOLE, at, diary.rng.choice(PEOPLE), guest=ground.guests[vmid], writer=power.console
        )
    at = ground.power_loss + DARK_SECONDS
    guests = tuple(guest for guest in ground.on(POWER_LOSS_NODE) if guest.is_running)
    diary.note(fates.BULK_START, at, ROOT, node=POWER_LOSS_NODE, guests=guests)
    for number, guest in enumerate(guests):
        routine = fates.START if guest.kind == "qemu" else fates.CONTAINER_START
        diary.note(routine, at + 3 + 4 * number, ROOT, guest=guest, node=POWER_LOSS_NODE)
