"""What a plan says: names, owners, nodes, sizes, quota, approval, and what speaks against each row."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import NotPermitted
from tasks_app.models import Machine, Submission
from tasks_app.services import names, orders
from tasks_app.services.placement import Facts, NodeFacts, Placer
from tests.factories import make_guest, make_machine, make_order, make_task, make_user
from tests.unit.services.making import World

pytestmark = pytest.mark.django_db
GIB = 1 << 30


@pytest.fixture
def world():
    return World()


def plan(world, *rows, **given):
    return orders.plan(
        given.pop("actor", world.member),
        item=world.item,
        team=given.pop("team", world.team),
        rows=list(rows) or [orders.Wanted()],
        size=given.pop("size", orders.Size(key="S")),
        **given,
    )


# names


def test_names_follow_the_pattern_and_fill_gaps(world):
    make_guest(world.source, name="WEB-debian-01")
    make_machine(make_order(world.team, item=world.item), stage="queued", name="web-debian-03")
    rows = plan(world, *[orders.Wanted()] * 3).rows
    assert [row.name for row in rows] == ["web-debian-02", "web-debian-04", "web-debian-05"]


def test_a_name_that_is_given_is_not_given_again_by_the_pattern(world):
    rows = plan(world, orders.Wanted(), orders.Wanted("web-debian-01")).rows
    assert [row.name for row in rows] == ["web-debian-02", "web-debian-01"]


def test_a_pattern_without_number_gets_one():
    assert names.format_name("{team}.lab", team="web", item="x", number=3) == "web.lab-3"
    assert names.format_name("{item}-{nn:03}", team="web", item="x", number=7) == "x-007"


@pytest.mark.parametrize(
    "name",
    [
        "-a",
        "a-",
        "a_b",
        "a b",
        "ä",
        "a..b",
        ".a",
        "a.",
        "x" * 64,
        "a." + "b" * 62,
        "a;b",
        "a\nb",
        "{team}",
        "a/b",
    ],
)
def test_what_is_no_host_name_is_a_problem_of_its_row(world, name):
    planned = plan(world, orders.Wanted(name), orders.Wanted())
    assert "name" in planned.rows[0].problems
    assert planned.rows[1].is_valid
    assert planned.valid_count == 1
    assert not planned.is_clean


@pytest.mark.parametrize("name", ["a", "web-1", "9to5", "a.b-c.d", "X" * 63, "  Mixed-Case "])
def test_host_names_pass_and_are_kept_small(world, name):
    row = plan(world, orders.Wanted(name)).rows[0]
    assert (row.problems, row.name) == ({}, name.strip().lower())


def test_a_name_twice_is_a_problem_of_the_second(world):
    rows = plan(world, orders.Wanted("a"), orders.Wanted("A")).rows
    assert rows[0].is_valid
    assert rows[1].problems == {"name": "Row 1 has this name already."}


def test_a_name_of_a_guest_is_taken_until_it_is_gone(world):
    guest = make_guest(world.source, name="db")
    assert plan(world, orders.Wanted("db")).rows[0].problems == {"name": "This name is taken on the source."}
    guest.gone_at = now()
    guest.save(update_fields=["gone_at"])
    assert plan(world, orders.Wanted("db")).is_clean


# owners


def test_owners_are_members_by_name_or_address(world):
    world.admin.email = "Boss@example.com"
    world.admin.save()
    rows = plan(
        world, orders.Wanted(), orders.Wanted(owner="boss"), orders.Wanted(owner="boss@EXAMPLE.com")
    ).rows
    assert [row.owner for row in rows] == ["ann", "boss", "boss"]


def test_a_stranger_cannot_own(world):
    make_user(username="eve")
    row = plan(world, orders.Wanted(owner="eve")).rows[0]
    assert row.problems == {"owner": "“eve” is not a member of Web."}


def test_who_is_not_in_the_team_may_not_plan(world):
    with pytest.raises(NotPermitted):
        plan(world, actor=make_user())


# VMIDs and addresses


def test_vmids_come_from_the_range_of_the_item_and_are_promised_once():
    world = World(vmid_from=500, vmid_to=503)
    make_guest(world.source, vmid=500)
    make_machine(make_order(world.team, item=world.item), stage="queued", vmid=501)
    rows = plan(world, *[orders.Wanted()] * 3).rows
    assert [row.vmid_hint for row in rows] == [502, 503, None]
    assert rows[2].problems == {"vmid": "Every VMID from 500 to 503 is taken."}


def test_a_pool_of_addresses_runs_dry():
    pool = {"network": "10.9.0.0/24", "first": "10.9.0.7", "last": "10.9.0.9", "gateway": "10.9.0.1"}
    world = World(ip_mode="static", ip_pool=pool)
    make_machine(make_order(world.team, item=world.item), stage="queued", static_ip="10.9.0.8")
    rows = plan(world, *[orders.Wanted()] * 3).rows
    assert [row.static_ip for row in rows] == ["10.9.0.7", "10.9.0.9", ""]
    assert rows[2].problems == {"ip": "The pool of addresses is used up."}


@pytest.mark.parametrize("pool", [{}, {"first": "x", "last": "y"}, {"first": "10.0.0.9", "last": "::1"}])
def test_a_pool_that_makes_no_sense_gives_no_address(pool):
    world = World(ip_mode="static", ip_pool=pool)
    assert "ip" in plan(world).rows[0].problems


# sizes


def test_the_numbers_of_a_named_size_are_the_items(world):
    planned = plan(world, size=orders.Size(cores=512, memory_mb=10**6, disk_gb=10**6, key="S"))
    row = planned.rows[0]
    assert (row.cores, row.memory_mb, row.disk_gb, planned.grow_disk_gb) == (2, 1024, 16, 16)


@pytest.mark.parametrize(
    ("size", "field"),
    [
        (orders.Size(key="XL"), "size"),
        (orders.Size(5, 1024, 10), "cores"),
        (orders.Size(0, 1024, 10), "cores"),
        (orders.Size(1, 9000, 10), "memory_mb"),
        (orders.Size(1, 1, 10), "memory_mb"),
        (orders.Size(1, 1024, 7), "disk_gb"),
        (orders.Size(1, 1024, 101), "disk_gb"),
    ],
)
def test_a_size_outside_the_limits_is_a_problem(size, field):
    world = World(allows_custom=True)
    planned = plan(world, size=size)
    assert list(planned.problems) == [field]
    assert planned.valid_count == 0


def test_a_custom_size_only_where_the_item_allows_it(world):
    assert "size" in plan(world, size=orders.Size(1, 1024, 10)).problems


def test_all_disks_count_but_only_one_grows():
    world = World(allows_custom=True, template_disk_gb=8, template_disks_gb=24)
    assert plan(world, size=orders.Size(1, 512, 20)).rows[0].disk_gb == 36
    assert plan(world, size=orders.Size(1, 512, 0)).grow_disk_gb == 0


# quota and approval


def test_rows_beyond_the_quota_say_so_and_the_rest_is_valid():
    world = World(team={"max_cores": 5})
    planned = plan(world, *[orders.Wanted()] * 4)
    assert [row.is_valid for row in planned.rows] == [True, True, False, False]
    line = next(line for line in planned.quota if line.key == "cores")
    assert (line.used, line.wanted, line.after, line.fits) == (0, 8, 8, False)


@pytest.mark.parametrize(
    ("item", "count", "needed"),
    [
        ({}, 9, False),
        ({"approval": "always"}, 1, True),
        ({"approval": "above", "approval_above_count": 2}, 2, False),
        ({"approval": "above", "approval_above_count": 2}, 3, True),
        ({"approval": "above", "approval_above_cores": 1}, 1, True),
        ({"approval": "above", "approval_above_cores": 2}, 1, False),
        ({"approval": "above", "approval_above_memory_mb": 512}, 1, True),
        ({"approval": "above", "approval_above_disk_gb": 15}, 1, True),
        ({"approval": "above"}, 99, False),
    ],
)
def test_approval_is_needed_by_the_rule_of_the_item(item, count, needed):
    assert bool(plan(World(**item), *[orders.Wanted()] * count).needs_approval) == needed


# lease


@pytest.mark.parametrize(
    ("item", "asked", "days", "problem"),
    [
        ({}, None, None, False),
        ({"lease_days": 14}, None, 14, False),
        ({"lease_days": 14, "max_lease_days": 30}, 20, 20, False),
        ({"max_lease_days": 30}, None, 30, False),
        ({"max_lease_days": 30}, 31, 30, True),
        ({}, 0, None, True),
    ],
)
def test_the_lease_is_the_items_or_what_was_asked_within_its_maximum(item, asked, days, problem):
    planned = plan(World(**item), lease_days=asked)
    assert planned.lease_days == days
    assert ("lease_days" in planned.problems) == problem


# the whole order


def test_too_many_and_none_are_problems(world):
    assert (
        "rows"
        in orders.plan(
            world.member, item=world.item, team=world.team, rows=[], size=orders.Size(key="S")
        ).problems
    )
    assert "rows" in plan(world, *[orders.Wanted()] * 301).problems


def test_an_item_that_cannot_be_ordered_says_why(world):
    world.item.vanished_at = now()
    assert "not on lab any more" in plan(world).problems["item"]


def test_what_happens_on_failure_is_one_of_three(world):
    assert "on_failure" in plan(world, on_failure="explode").problems
    assert "on_failure" in plan(world, on_failure="stop_after", stop_after=0).problems


# what to expect


def test_clones_of_a_running_guest_come_with_advice(world):
    world.template.status, world.template.is_template = "running", False
    world.template.save()
    assert "one after another" in plan(world, *[orders.Wanted()] * 2).advice
    assert plan(world).advice == ""


def test_what_waits_is_counted(world):
    assert plan(world).ahead == 0
    world.order(3)
    assert plan(world).ahead == 3


def test_the_usual_time_comes_from_machines_of_the_item_and_before_that_from_clones(world):
    assert plan(world).usual == ""
    make_task(world.source, type="qmclone", object_id="9000", state="completed")
    assert plan(world).usual == "30 s for the clone (last run)"
    world.order(2)
    world.run()
    Submission.objects.filter(step="clone").update(created_at=now())
    for seconds, machine in zip((120, 240), Machine.objects.order_by("pk"), strict=True):
        machine.ready_at = machine.submissions.get(step="clone").created_at + timedelta(seconds=seconds)
        machine.save(update_fields=["ready_at"])
    assert plan(world).usual == "3 min (last 2 runs)"


# placement


def facts(**free_gib):
    storages = {"pve1": {"local", "ceph"}, "pve2": {"local", "ceph"}, "pve3": {"local"}}
    return Facts(
        nodes={
            name: NodeFacts(name, gib * GIB, 64 * GIB, frozenset(storages[name]))
            for name, gib in free_gib.items()
        },
        shared=frozenset({"ceph"}),
        disks={9000: frozenset({"ceph"})},
    )


def test_the_node_with_most_free_memory_that_reaches_the_storage_is_taken():
    world = World(placement="automatic", storage="ceph")
    assert Placer(world.item, facts(pve1=4, pve2=8, pve3=32)).place(1024) == "pve2"


def test_machines_of_one_order_are_spread():
    world = World(placement="automatic", storage="ceph")
    placer = Placer(world.item, facts(pve1=4, pve2=5))
    assert [placer.place(1024) for _ in range(4)] == ["pve2", "pve1", "pve2", "pve1"]


def test_a_template_on_a_local_disk_stays_on_its_node():
    world = World(placement="automatic", storage="ceph")
    told = facts(pve1=1, pve2=8)
    told.disks[9000] = frozenset({"local"})
    assert Placer(world.item, told).place(1024) == "pve1"


def test_a_fixed_list_is_kept_to():
    world = World(placement="fixed", nodes=["pve1"], storage="ceph")
    assert Placer(world.item, facts(pve1=1, pve2=8)).place(1024) == "pve1"
    world.item.nodes = ["pve3"]
    assert Placer(world.item, facts(pve1=1, pve2=8, pve3=8)).place(1024) == ""


def test_without_facts_the_node_is_decided_at_the_start():
    world = World(placement="automatic", storage="ceph")
    assert plan(world, facts=Facts()).rows[0].node == ""


def test_a_source_that_does_not_answer_holds_up_no_page():
    world = World(placement="automatic", storage="ceph")  # nothing listens at its address
    started = now()
    assert plan(world).rows[0].node == ""
    assert (now() - started).total_seconds() < 3
