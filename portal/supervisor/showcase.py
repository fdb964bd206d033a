"""What the demo has to show of self-service on its first start: items, teams with quotas, an order waiting, a batch.

Everything is made by the services a person would use, so it is audited and limited like everything else.
"""

import time
from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import connection

from portal.supervisor import studio
from tasks_app.models import CatalogItem, Source, Team
from tasks_app.services import catalog_items, orders, teams
from tasks_app.services.item_input import ItemSettings, Size
from tasks_app.services.planning import Size as Wished
from tasks_app.services.planning import Wanted
from tasks_app.services.source_offers import fetch_template
from tasks_app.services.teams import Limits

SYNCED_WITHIN_SECONDS = 60.0
BATCH = 8

_SMALL = Size("S", "Small", cores=1, memory_mb=2048)
_MEDIUM = Size("M", "Medium", cores=2, memory_mb=4096, disk_gb=32)
_LARGE = Size("L", "Large", cores=4, memory_mb=8192, disk_gb=64)

_ITEMS = (
    (
        "qemu:9001",
        ItemSettings(
            slug="ubuntu",
            title="Ubuntu 26.04 server",
            description="Cloud image with guest agent: up and reachable in about a minute.",
            icon="server",
            storage="ceph-vm",
            placement=CatalogItem.Placement.AUTOMATIC,
            pool="portal",
            vmid_from=300,
            vmid_to=699,
            sizes=(_SMALL, _MEDIUM, _LARGE),
            allows_custom=True,
            max_cores=8,
            max_memory_mb=16384,
            max_disk_gb=200,
            ci_user="ubuntu",
            ip_mode=CatalogItem.IpMode.DHCP,
            lease_days=30,
            max_lease_days=90,
            approval=CatalogItem.Approval.ABOVE,
            approval_above_count=10,
        ),
    ),
    (
        "qemu:9000",
        ItemSettings(
            slug="debian",
            title="Debian 13 sandbox",
            description="A linked clone: made in seconds, gone after a week.",
            icon="terminal",
            full_clone=False,
            pool="portal",
            vmid_from=300,
            vmid_to=699,
            sizes=(_SMALL, Size("M", "Medium", cores=2, memory_mb=4096)),
            ci_user="debian",
            ip_mode=CatalogItem.IpMode.DHCP,
            lease_days=7,
            max_lease_days=30,
            deletes_after_lease=True,
        ),
    ),
    (
        "qemu:9002",
        ItemSettings(
            slug="win2025",
            title="Windows Server 2025 Core",
            description="Needs a licence: a team admin approves each one.",
            icon="monitor",
            storage="ceph-vm",
            pool="portal",
            vmid_from=300,
            vmid_to=699,
            sizes=(Size("M", "Medium", cores=4, memory_mb=8192),),
            takes_ssh_keys=False,
            lease_days=60,
            max_lease_days=180,
            approval=CatalogItem.Approval.ALWAYS,
        ),
    ),
)
# name, slug, quota, members; the first member leads. They have no password until an admin gives them one.
_TEAMS = (
    ("Web team", "web", Limits(machines=20, cores=48, memory_mb=98304, disk_gb=1200), ("alice", "bob")),
    ("Research lab", "lab", Limits(machines=10, cores=24, memory_mb=49152, disk_gb=800), ("carol", "dave")),
)


def seed(source: Source) -> bool:
    """Make it all, once: False when there are teams already, or the source has not been read in time."""
    if Team.objects.exists() or not wait_for_sync(source):
        return False
    _seed_machines(source)
    return True


def seed_studio(source: Source) -> bool:
    """The first videos, by the first team; False when there are some already."""
    team = Team.objects.filter(slug=_TEAMS[0][1]).first()
    return team is not None and studio.seed(source, team)


def _seed_machines(source: Source) -> None:
    items = [_item(source, pick, settings) for pick, settings in _ITEMS]
    web, lab = [_team(*row, items=items) for row in _TEAMS]
    ubuntu, _, windows = items
    alice, dave = User.objects.get(username="alice"), User.objects.get(username="dave")
    orders.submit_order(
        dave,
        item=windows,
        team=lab,
        rows=[Wanted()],
        size=Wished(key="M"),
        reason="Test of the new domain controller",
        idempotency_key="demo-approval",
    )
    orders.submit_order(
        alice,
        item=ubuntu,
        team=web,
        rows=[Wanted() for _ in range(BATCH)],
        size=Wished(key="M"),
        idempotency_key="demo-batch",
    )


def wait_for_sync(source: Source) -> bool:
    """Whether the source has been read, waiting for it a while."""
    deadline = time.monotonic() + SYNCED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        source.refresh_from_db()
        if source.first_synced_at and source.guests.exists():
            return True
        connection.close()
        time.sleep(0.3)
    return False


def _item(source: Source, pick: str, settings: ItemSettings) -> CatalogItem:
    template = fetch_template(source, pick)
    return catalog_items.save_item(None, actor=None, settings=settings, source=source, template=template)


def _team(
    name: str, slug: str, quota: Limits, members: Sequence[str], *, items: Sequence[CatalogItem]
) -> Team:
    team = teams.save_team(None, actor=None, name=name, slug=slug, quota=quota, ceiling=quota)
    for username in members:
        person, _ = User.objects.get_or_create(username=username)
        person.set_unusable_password()
        person.save(update_fields=["password"])
        teams.add_member(team, actor=None, person=person)
    teams.set_admin(team, actor=None, person=User.objects.get(username=members[0]), is_admin=True)
    for item in items:
        teams.grant_item(team, actor=None, item=item)
    return team
