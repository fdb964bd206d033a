"""A history of any length: tasks with the types, people, ends and logs of real clusters, written in bulk.

The rate is the same whatever the number, 1,370 tasks a day, so that more tasks are a longer history.
"""

import itertools
import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.db.models import Model

from bench.rows import ENDS, ERRORS, NODES, PEOPLE, RUNNING, TYPES, make_sources
from tasks_app.ingest.tasks import search_text
from tasks_app.ingest.texts import words_of
from tasks_app.models import (
    CatalogItem,
    Grant,
    LogChunk,
    Machine,
    Order,
    Role,
    Source,
    Stage,
    Submission,
    Task,
    TaskLog,
    TaskText,
    Team,
    search_sql,
)
from tasks_app.sources.base import TaskObservation
from tasks_app.states import State

PER_DAY = 1370
BATCH = 5000
LOGS = 0.5
"""Share of tasks whose log is kept; the others ran before the portal came."""
OWN = 50
"""Every so many-th task was asked for in the portal, by a member of a team for a machine."""
RARE_TYPES = {
    "qmrollback": 0.5,
    "wipedisk": 0.02,
    "imgcopy": 0.3,
    "aptupdate": 3,
    "vzdestroy": 0.3,
    "qmmove": 0.7,
}
KNOWN = {"alice@pve": "Alice Archer", "bob@pve": "Bob Baker", "carol@ldap": "Carol Carter"}
MEMBERS = [f"member-{number}" for number in range(1, 41)]
RARE_WORD = "xylophone"
RARE_LOG_WORD = "unobtainium"

_ALL_TYPES = TYPES | RARE_TYPES


def build(count: int, at: datetime) -> list[Source]:
    """Sources, people, teams with machines, and `count` tasks with their logs, texts, counts and indexes."""
    sources = make_sources(3, at)
    _make_people(sources)
    submissions = _make_machines(sources, count // OWN, at)
    search_sql.remove(connection)
    _drop_text_index()
    rows = _Rows(sources, submissions, count, at)
    while batch := rows.next_batch():
        with transaction.atomic():
            for model, values in batch:
                _copy(model, values)
    search_sql.install(connection)
    _rebuild_text_index()
    return sources


def observations(count: int, at: datetime) -> Iterator[TaskObservation]:
    """Ended tasks as the list of a node shows them, newest first."""
    chance = random.Random(5)
    for number in range(count):
        began = at.replace(microsecond=0) - timedelta(seconds=60 * number + 900)
        ended, status = began + timedelta(seconds=chance.randrange(1, 800)), "OK"
        node, type = chance.choice(NODES), chance.choices(list(_ALL_TYPES), list(_ALL_TYPES.values()))[0]
        user, vmid, seconds = chance.choice(PEOPLE), chance.randrange(100, 700), int(began.timestamp())
        if chance.random() < 0.08:
            status = chance.choice(ERRORS)
        upid = f"UPID:{node}:{number:08X}:{seconds & 0xFFFFFFF:08X}:{seconds:08X}:{type}:{vmid}:{user}:"
        row = {"upid": upid, "node": node, "type": type, "id": str(vmid), "user": user, "starttime": seconds}
        yield TaskObservation(
            remote_id=upid,
            node=node,
            type=type,
            object_id=str(vmid),
            user=user,
            token="",
            started_at=began,
            running=False,
            ended_at=ended,
            exit_text=status,
            raw=row | {"endtime": int(ended.timestamp()), "status": status},
        )


def _make_people(sources: Sequence[Source]) -> None:
    operator, auditor = (User.objects.create_user(name) for name in ("operator", "auditor"))
    for source in sources[:2]:
        Grant.objects.create(user=operator, source=source, role=Role.OPERATOR)
    Grant.objects.create(user=auditor, source=None, role=Role.AUDITOR)
    members = User.objects.bulk_create(User(username=name) for name in MEMBERS)
    for number in range(4):
        group = Group.objects.create(name=f"Team {number}")
        group.user_set.add(*members[number::4])
        Team.objects.create(group=group, slug=f"team-{number}")


def _make_machines(sources: Sequence[Source], count: int, at: datetime) -> list[Submission]:
    """`count` submissions, four for each machine; all of a machine come from one request."""
    teams = list(Team.objects.order_by("pk"))
    members = {team.pk: list(team.group.user_set.order_by("pk")) for team in teams}
    items = {
        source.pk: CatalogItem.objects.create(
            source=source, kind=CatalogItem.Kind.QEMU_CLONE, vmid=9000, slug=f"i{source.pk}", title="Ubuntu"
        )
        for source in sources
    }
    orders = [
        Order.objects.create(
            team=team,
            item=items[source.pk],
            source=source,
            title=f"{team.slug}-{source.name}",
            actor=members[team.pk][0],
            actor_name=members[team.pk][0].username,
            idempotency_key=f"{team.slug}-{source.name}",
        )
        for team, source in itertools.product(teams, sources)
    ]
    machines = Machine.objects.bulk_create(
        (
            Machine(
                order=order,
                source=order.source,
                team=order.team,
                item=order.item,
                owner_name=order.actor_name,
                position=number // len(orders) + 1,
                name=f"vm-{number}",
                kind="qemu",
                cores=1,
                memory_mb=1024,
                disk_gb=8,
                stage=Stage.GONE,
                ended_at=at,
            )
            for number, order in zip(range(max(1, count // 4)), itertools.cycle(orders), strict=False)
        ),
        batch_size=1000,
    )
    chance = random.Random(3)
    return Submission.objects.bulk_create(
        (
            _submission(chance, machine, f"{machine.pk:08d}-request", action, members[machine.team_id])
            for machine in machines
            for action in ("clone", "configure", "start", "delete")
        ),
        batch_size=1000,
    )


def _submission(
    chance: random.Random, machine: Machine, request: str, action: str, members: Sequence[User]
) -> Submission:
    return Submission(
        source_id=machine.source_id,
        action=action,
        guest_kind="qemu",
        node=chance.choice(NODES),
        vmid=9000,
        machine=machine,
        actor_name=chance.choice(members).username,
        request_id=request,
        idempotency_key=uuid.UUID(int=chance.getrandbits(128)).hex,
        state=State.COMPLETED,
    )


class _Rows:
    """Tasks from the oldest to the newest, with their texts and logs, as values ready for the database."""

    def __init__(
        self, sources: Sequence[Source], submissions: Sequence[Submission], count: int, at: datetime
    ) -> None:
        self._sources, self._submissions, self._count = sources, submissions, count
        self._chance = random.Random(1)
        self._seconds = count / PER_DAY * 86400
        self._first = at - timedelta(seconds=self._seconds)
        self._done = 0
        self._logs = 0
        # Three of the rarest, far back and lately, whatever the number of tasks.
        self._rare = {count // 20, count // 2, count - 500}

    def next_batch(self) -> list[tuple[type[Model], list[tuple[Any, ...]]]]:
        """Up to BATCH tasks and what belongs to them; [] at the end."""
        numbers = range(self._done, min(self._done + BATCH, self._count))
        self._done = numbers.stop
        tasks: list[Task] = []
        texts, logs, chunks = [], [], []
        for number in numbers:
            task = self._task(number)
            tasks.append(task)
            lines = self._log(task, number) if self._chance.random() < LOGS and task.is_final else []
            log = "\n".join(lines).lower()
            words = words_of(task)
            text = f"{words}\n{log}" if log else words
            texts.append((TaskText.key_of(task), task.pk, text, len(log), False))
            if lines:
                self._logs += 1
                logs.append((self._logs, task.pk, len(lines), True, "", task.ended_at))
                chunks.append((self._logs, self._logs, 1, LogChunk.pack(lines)))
        return (
            [
                (Task, list(_values(tasks))),
                (TaskText, texts),
                (TaskLog, logs),
                (LogChunk, chunks),
            ]
            if tasks
            else []
        )

    def _task(self, number: int) -> Task:
        chance = self._chance
        started_at = self._first + timedelta(
            seconds=int(self._seconds * (number + chance.random()) / self._count)
        )
        type = chance.choices(list(_ALL_TYPES), list(_ALL_TYPES.values()))[0]
        source, node, user = chance.choice(self._sources), chance.choice(NODES), chance.choice(PEOPLE)
        vmid, token, person, submission = chance.randrange(100, 700), "", KNOWN.get(user, ""), None
        if number % OWN == 0 and number // OWN < len(self._submissions):
            submission = self._submissions[number // OWN]
            type = {"clone": "qmclone", "configure": "qmconfig", "start": "qmstart", "delete": "qmdestroy"}[
                submission.action
            ]
            source = next(each for each in self._sources if each.pk == submission.source_id)
            user, token, person = "portal@pve", "web", submission.actor_name
        seconds = int(started_at.timestamp())
        upid = f"UPID:{node}:{number & 0xFFFFFF:08X}:{seconds & 0xFFFFFFF:08X}:{seconds:08X}:{type}:{vmid}:{user}:"
        task = Task(
            pk=number + 1,
            source=source,
            remote_id=upid,
            node=node,
            type=type,
            object_id=str(vmid),
            vmid=vmid,
            object_name=f"web-{vmid}",
            remote_user=user,
            remote_token=token,
            person=person,
            submission=submission,
            state=State.PROCESSING,
            started_at=started_at,
            seen_at=started_at,
            changed_at=started_at,
            raw={
                "upid": upid,
                "node": node,
                "type": type,
                "id": str(vmid),
                "user": user,
                "starttime": seconds,
            },
            is_indexed=True,
        )
        if type == "qmclone":
            task.new_vmid = chance.randrange(100, 700)
            task.new_name = f"vm-{task.new_vmid}"
        if number < self._count - RUNNING:
            self._end(task)
        if number in self._rare:
            task.object_name = RARE_WORD
        task.search_text = search_text(task)
        return task

    def _end(self, task: Task) -> None:
        chance = self._chance
        task.state = chance.choices(list(ENDS), list(ENDS.values()))[0]
        task.ended_at = task.started_at + timedelta(seconds=chance.randrange(1, 900))
        task.exit_text = "OK"
        if task.state == State.COMPLETED and task.type == "vzdump" and chance.random() < 0.05:
            task.warnings, task.exit_text = chance.randrange(1, 4), "WARNINGS: 1"
        elif task.state != State.COMPLETED:
            task.exit_text = task.error_line = chance.choice(ERRORS)
        if task.state in (State.FAILED, State.LOST) and chance.random() < 0.98:
            task.acknowledged_at = task.ended_at

    def _log(self, task: Task, number: int) -> list[str]:
        chance = self._chance
        end = "TASK OK" if task.state == State.COMPLETED else f"TASK ERROR: {task.error_line}"
        rare = [f"kvm: {RARE_LOG_WORD} device is busy"] if number % (self._count // 3) == 7 else []
        if task.type == "vzdump":
            return [*_backup(chance, task), *rare, end]
        if task.type in ("qmclone", "qmmove"):
            return [*_copying(chance), *rare, end]
        if task.type in ("qmshutdown", "qmigrate"):
            return [f"{step}: guest {task.vmid} on {task.node}" for step in _STEPS] + [*rare, end]
        return [*rare, end]


_STEPS = ("starting", "waiting for the guest agent", "status: running", "done")


def _backup(chance: random.Random, task: Task) -> Iterator[str]:
    yield f"INFO: starting new backup job: vzdump {task.vmid} --storage backup --mode snapshot --compress zstd"
    yield f"INFO: Starting Backup of VM {task.vmid} (qemu)"
    yield f"INFO: creating vzdump archive '/mnt/pve/backup/dump/vzdump-qemu-{task.vmid}.vma.zst'"
    done = 0
    while done < 100:
        yield (
            f"INFO: {done:3}% ({done * 0.32:.1f} GiB of 32.0 GiB) in {done // 3}s, "
            f"read: {chance.uniform(50, 900):.1f} MiB/s, write: {chance.uniform(50, 300):.1f} MiB/s"
        )
        done += chance.randrange(2, 9)
    yield f"INFO: Finished Backup of VM {task.vmid} (00:{chance.randrange(60):02}:{chance.randrange(60):02})"
    yield "INFO: Backup job finished successfully"


def _copying(chance: random.Random) -> Iterator[str]:
    yield "create full clone of drive scsi0 (local-lvm:base-9000-disk-0)"
    done = 0.0
    while done < 32:
        yield f"transferred {done:.1f} GiB of 32.0 GiB ({done / 0.32:.2f}%)"
        done += chance.uniform(0.5, 2)


def _values(tasks: Iterable[Task]) -> Iterator[tuple[Any, ...]]:
    fields = Task._meta.concrete_fields
    for task in tasks:
        yield tuple(
            value
            if type(value := getattr(task, field.attname)) in _PLAIN
            else field.get_db_prep_save(value, connection)
            for field in fields
        )


_PLAIN = (int, str, type(None), bool, float)


def _copy(model: type[Model], rows: Sequence[tuple[Any, ...]]) -> None:
    columns = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.cursor.copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy:
                for row in rows:
                    copy.write_row(
                        [json.dumps(v.obj) if type(v).__name__.startswith("Json") else v for v in row]
                    )
            return
        places = ", ".join(["%s"] * len(rows[0])) if rows else ""
        if rows:
            plain = [tuple(_for_sqlite(value) for value in row) for row in rows]
            cursor.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({places})', plain)


def _for_sqlite(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else value


def _drop_text_index() -> None:
    """It is made in one go when all texts are there, which gives the same index in a tenth of the time."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX {search_sql.PG_INDEX}")


def _rebuild_text_index() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"INSERT INTO {search_sql.FTS}({search_sql.FTS}) VALUES ('rebuild')")
            return
        for model in (Task, TaskLog, LogChunk):
            table = model._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
        cursor.execute("VACUUM ANALYZE")  # what autovacuum has long done in real life
