"""What a team uses is the sum over its machines, and two requests at once are added up one after the other."""

import threading

import pytest
from django.db import connection

from tasks_app.models import Machine, Order
from tasks_app.services import orders, quotas
from tasks_app.services.quotas import QuotaExceeded, Usage
from tests.factories import make_machine, make_order, make_team
from tests.unit.services.making import World


@pytest.mark.django_db
def test_usage_counts_what_exists_and_what_may_come_to_exist():
    order = make_order()
    for stage in ("ready", "queued", "approval", "clone", "gone", "rejected", "cancelled"):
        make_machine(order, stage=stage, cores=2, memory_mb=1024, disk_gb=10)
    assert quotas.usage(order.team) == Usage(machines=4, cores=8, memory_mb=4096, disk_gb=40)


@pytest.mark.django_db
def test_a_team_without_machines_uses_nothing():
    assert quotas.usage(make_team()) == Usage()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("max_machines", "The team has only 0 machines left of 1 machine."),
        ("max_cores", "The team has only 0 cores left of 1 core."),
        ("max_memory_mb", "The team has only 0 GiB of memory left of 1 MiB of memory."),
        ("max_disk_gb", "The team has only 0 GiB of disk left of 1 GiB of disk."),
    ],
)
def test_the_first_limit_that_does_not_fit_is_named(limit, words):
    team = make_team(**{limit: 1})
    assert quotas.refusal(team, Usage(1, 1, 1, 1), Usage(1, 1, 1, 1)) == words
    assert quotas.refusal(team, Usage(), Usage(1, 1, 1, 1)) == ""


@pytest.mark.django_db
def test_no_limit_fits_everything():
    assert quotas.refusal(make_team(), Usage(10**6, 10**6, 10**6, 10**6), Usage(1, 1, 1, 1)) == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(3))
def test_of_two_orders_at_once_that_overdraw_together_exactly_one_is_accepted(attempt):
    world = World(team={"max_cores": 6})
    barrier, results = threading.Barrier(2), []

    def ask(number):
        try:
            barrier.wait(10)
            results.append(world.order(2, key=f"{attempt}-{number}"))  # 4 cores of 6
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(type(result).__name__ for result in results) == ["Order", "QuotaExceeded"]
    assert Order.objects.count() == 1
    assert quotas.usage(world.team).cores == 4
    assert len(set(Machine.objects.values_list("vmid", flat=True))) == 2


@pytest.mark.django_db(transaction=True)
def test_many_orders_of_two_teams_at_once_share_no_name_and_no_vmid():
    world = World(team={"max_machines": 5})
    other = make_team(world.member, items=(world.item,), slug="web2", max_machines=5)
    barrier, results = threading.Barrier(8), []

    def ask(number):
        try:
            barrier.wait(10)
            results.append(world.order(1, key=str(number), team=(world.team, other)[number % 2]))
        except QuotaExceeded as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 8
    assert all(isinstance(result, Order) for result in results)
    rows = list(Machine.objects.values_list("name", "vmid"))
    assert len({name for name, _ in rows}) == len({vmid for _, vmid in rows}) == 8


@pytest.mark.django_db
def test_quota_is_free_again_when_an_order_is_withdrawn():
    world = World(team={"max_machines": 1})
    order = world.order()
    with pytest.raises(QuotaExceeded):
        world.order(key="second")
    orders.cancel_order(order, actor=world.member)
    assert world.order(key="third").machines.count() == 1
