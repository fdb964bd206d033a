"""The catalogue, and ordering one or many machines from it."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from tasks_app.models import CatalogItem, Machine, Order, Profile, Role, Source, Team
from tests.factories import (
    make_guest,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db

SIZES = [
    {"key": "S", "label": "Small", "cores": 1, "memory_mb": 1024, "disk_gb": 0},
    {"key": "M", "label": "Medium", "cores": 2, "memory_mb": 4096, "disk_gb": 20},
]


@pytest.fixture
def source() -> Source:
    return make_source(name="prod")


@pytest.fixture
def item(source: Source) -> CatalogItem:
    make_guest(source, vmid=9000, name="debian-12", is_template=True, status="stopped")
    return make_item(source, slug="debian", title="Debian 12", sizes=SIZES, allows_custom=True)


@pytest.fixture
def member() -> User:
    return make_user(username="ann", email="ann@example.org")


@pytest.fixture
def team(member: User, item: CatalogItem) -> Team:
    return make_team(member, items=(item,), name="Web", slug="web", max_machines=5, max_cores=10)


@pytest.fixture
def ann(client: Client, member: User, team: Team) -> Client:
    client.force_login(member)
    return client


def given_for(team: Team, **fields: Any) -> dict[str, Any]:
    return {"idempotency_key": str(uuid.uuid4()), "team": team.pk, "size": "S", "lease_days": ""} | fields


def many_for(team: Team, **fields: Any) -> dict[str, Any]:
    return given_for(team, how="count", count=3, on_failure="go_on", stop_after=1) | fields


def pages_of(item: CatalogItem) -> list[str]:
    return [f"/catalogue/{item.pk}/{page}" for page in ("order", "order/check", "many")]


# who


def test_anonymous_is_led_to_the_sign_in(client: Client, item: CatalogItem) -> None:
    for page in ["/catalogue/", *pages_of(item)]:
        assert client.get(page)["Location"].startswith("/account/login/")


def test_stranger_sees_no_item(client: Client, item: CatalogItem) -> None:
    client.force_login(make_user())
    assert "Debian 12" not in client.get("/catalogue/").text
    assert {client.get(page).status_code for page in pages_of(item)} == {404}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN])
def test_role_on_the_source_shows_the_item_but_orders_nothing(
    client: Client, item: CatalogItem, team: Team, role: Role
) -> None:
    client.force_login(make_user(role, source=item.source))
    page = client.get("/catalogue/").text
    assert "Debian 12" in page
    assert "None of your teams has been given it" in page
    assert {client.get(address).status_code for address in pages_of(item)} == {403}
    assert client.post(f"/catalogue/{item.pk}/order", given_for(team)).status_code == 403
    assert client.post(f"/catalogue/{item.pk}/many", many_for(team)).status_code == 403
    assert client.post(f"/catalogue/{item.pk}/many/preview", many_for(team)).status_code == 403
    assert not Order.objects.exists()


def test_member_may_not_order_for_a_team_of_others(ann: Client, item: CatalogItem) -> None:
    other = make_team(items=(item,))
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(other))
    assert answer.status_code == 422
    assert not Order.objects.exists()


def test_member_of_a_team_without_the_item_is_a_stranger(client: Client, item: CatalogItem) -> None:
    person = make_user()
    make_team(person)
    client.force_login(person)
    assert client.get(f"/catalogue/{item.pk}/order").status_code == 404


def test_items_are_managed_by_admins_only(ann: Client, item: CatalogItem) -> None:
    assert "Manage items" not in ann.get("/catalogue/").text
    ann.force_login(make_superuser())
    assert ann.get("/catalogue/").context["can_manage"]


# the catalogue


def test_card_says_what_the_item_is(ann: Client, item: CatalogItem) -> None:
    item.description = "Plain Debian"
    item.save()
    page = ann.get("/catalogue/").text
    for words in ("Plain Debian", "Full clone", "8 GiB", "prod", "not known yet"):
        assert words in page
    assert f"/catalogue/{item.pk}/order" in page


def test_linked_clone_is_marked(ann: Client, item: CatalogItem) -> None:
    CatalogItem.objects.update(full_clone=False)
    assert "Linked clone" in ann.get("/catalogue/").text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"is_enabled": False}, "An admin has switched this item off."),
        ({"vanished_at": now()}, "The template 9000 is not on prod any more."),
    ],
)
def test_disabled_item_says_why(ann: Client, item: CatalogItem, fields: dict[str, Any], words: str) -> None:
    CatalogItem.objects.update(**fields)
    page = ann.get("/catalogue/").text
    assert words in page
    assert f"/catalogue/{item.pk}/order" not in page


def test_empty_catalogue_says_what_to_do(client: Client) -> None:
    person = make_user()
    client.force_login(person)
    assert "You are in no team" in client.get("/catalogue/").text
    make_team(person)
    assert "Nothing to order yet" in client.get("/catalogue/").text


# one


def test_name_is_prefilled_from_the_pattern(ann: Client, item: CatalogItem) -> None:
    page = ann.get(f"/catalogue/{item.pk}/order").text
    assert 'value="web-debian-01"' in page
    assert "web-debian-01 is free" in page


def test_name_that_is_taken_is_told_while_typing(ann: Client, item: CatalogItem, team: Team) -> None:
    make_guest(item.source, name="db-01")
    answer = ann.get(f"/catalogue/{item.pk}/order/check", given_for(team, name="db-01"))
    assert "This name is taken on the source." in answer.text
    assert "is free" not in answer.text


@pytest.mark.parametrize("name", ["-web", "web_01", "a..b", "ä", "a" * 64, "<script>x</script>", "=1+1"])
def test_wrong_name_stays_on_its_field(ann: Client, item: CatalogItem, team: Team, name: str) -> None:
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team, name=name))
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]
    assert "<script>x" not in answer.text
    assert not Order.objects.exists()


def test_untouched_suggestion_follows_the_team(ann: Client, item: CatalogItem, member: User) -> None:
    other = make_team(member, items=(item,), slug="ops")
    given = given_for(other, name="web-debian-01", suggested="web-debian-01")
    assert 'value="ops-debian-01"' in ann.get(f"/catalogue/{item.pk}/order/check", given).text


def test_typed_name_is_never_replaced(ann: Client, item: CatalogItem, team: Team) -> None:
    given = given_for(team, name="mine", suggested="web-debian-01")
    assert 'id="id_name"' not in ann.get(f"/catalogue/{item.pk}/order/check", given).text


def test_order_is_made_and_opens(ann: Client, item: CatalogItem, team: Team) -> None:
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team, name="web-x", size="M", reason="tests"))
    order = Order.objects.get()
    assert answer["Location"] == f"/orders/{order.pk}/"
    machine = order.machines.get()
    assert (machine.name, machine.cores, machine.memory_mb, order.reason) == ("web-x", 2, 4096, "tests")


def test_double_click_makes_one_order(ann: Client, item: CatalogItem, team: Team) -> None:
    given = given_for(team, name="web-x")
    first, second = (ann.post(f"/catalogue/{item.pk}/order", given) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Order.objects.count() == 1


def test_key_survives_a_wrong_input(ann: Client, item: CatalogItem, team: Team) -> None:
    given = given_for(team, name="-wrong")
    assert given["idempotency_key"] in ann.post(f"/catalogue/{item.pk}/order", given).text


@pytest.mark.parametrize("key", ["", "not-a-key"])
def test_form_without_its_key_orders_nothing(ann: Client, item: CatalogItem, team: Team, key: str) -> None:
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team, idempotency_key=key))
    assert answer.status_code == 422
    assert not Order.objects.exists()


def test_custom_size_is_ordered(ann: Client, item: CatalogItem, team: Team) -> None:
    given = given_for(team, size="custom", cores=3, memory_gib="1.5", disk_gb=12)
    ann.post(f"/catalogue/{item.pk}/order", given)
    machine = Machine.objects.get()
    assert (machine.cores, machine.memory_mb, machine.grow_disk_gb) == (3, 1536, 12)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("cores", {"cores": 5}),
        ("cores", {"cores": ""}),
        ("memory_gib", {"memory_gib": "100"}),
        ("memory_gib", {"memory_gib": "much"}),
        ("disk_gb", {"disk_gb": 4}),
        ("disk_gb", {"disk_gb": 101}),
    ],
)
def test_custom_size_beyond_its_limits_stays_on_its_field(
    ann: Client, item: CatalogItem, team: Team, field: str, fields: dict[str, Any]
) -> None:
    given = given_for(team, size="custom", cores=1, memory_gib="1", disk_gb=10) | fields
    answer = ann.post(f"/catalogue/{item.pk}/order", given)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]


def test_size_that_the_item_has_not_is_refused(ann: Client, item: CatalogItem, team: Team) -> None:
    CatalogItem.objects.update(allows_custom=False)
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team, size="custom", cores=1, memory_gib="1"))
    assert answer.context["form"].errors["size"]


def test_lease_beyond_the_maximum_stays_on_its_field(ann: Client, item: CatalogItem, team: Team) -> None:
    CatalogItem.objects.update(lease_days=7, max_lease_days=30)
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team, lease_days=31))
    assert answer.context["form"].errors["lease_days"]


def test_summary_shows_quota_before_and_after(ann: Client, item: CatalogItem, team: Team) -> None:
    make_machine(make_order(team, item=item))
    page = ann.get(f"/catalogue/{item.pk}/order").text
    assert "1 → 2 of 5" in page


def test_summary_says_when_the_quota_is_used_up(ann: Client, item: CatalogItem, team: Team) -> None:
    Team.objects.update(max_machines=0)
    assert "too much" in ann.get(f"/catalogue/{item.pk}/order").text
    answer = ann.post(f"/catalogue/{item.pk}/order", given_for(team))
    assert answer.status_code == 422
    assert "0 machines" in " ".join(answer.context["form"].non_field_errors())


def label_of(page: str) -> str:
    found = re.search(r'id="submit-words"[^>]*>(.*?)</span>', page, re.DOTALL)
    assert found
    return found[1].strip()


def test_button_tells_the_truth(ann: Client, item: CatalogItem, team: Team) -> None:
    address = f"/catalogue/{item.pk}/order"
    assert label_of(ann.get(address).text) == "Create VM"
    for number in range(3):
        make_machine(make_order(make_team(), item=item), stage="queued", name=f"q-{number}")
    assert label_of(ann.get(address).text) == "Add to queue (3 ahead)"
    CatalogItem.objects.update(approval="always")
    assert label_of(ann.get(address).text) == "Request approval"
    Machine.objects.all().delete()
    CatalogItem.objects.update(approval="never", kind="lxc")
    assert label_of(ann.get(f"{address}/check", given_for(team)).text) == "Create container"


def test_missing_key_in_the_profile_is_told(ann: Client, item: CatalogItem, member: User) -> None:
    assert "Your profile has no key" in ann.get(f"/catalogue/{item.pk}/order").text
    Profile.objects.update_or_create(user=member, defaults={"ssh_keys": "ssh-ed25519 AAAA ann@laptop"})
    assert "ann@laptop" in ann.get(f"/catalogue/{item.pk}/order").text


def test_form_that_cannot_be_read_leaves_the_summary_standing(ann: Client, item: CatalogItem) -> None:
    answer = ann.get(f"/catalogue/{item.pk}/order/check", {"size": "nonsense", "lease_days": "x"})
    assert answer.status_code == 200
    assert "cannot be used" in answer.text


# many


def preview(client: Client, item: CatalogItem, given: dict[str, Any]) -> Any:
    return client.post(f"/catalogue/{item.pk}/many/preview", given, headers={"HX-Request": "true"})


def names_in(answer: Any) -> list[str]:
    return [row.name for row in answer.context["plan"].rows]


def test_count_fills_rows_from_the_pattern(ann: Client, item: CatalogItem, team: Team) -> None:
    answer = preview(ann, item, many_for(team))
    assert names_in(answer) == ["web-debian-01", "web-debian-02", "web-debian-03"]
    assert not Order.objects.exists()


def test_pasted_list_gives_names_and_owners(ann: Client, item: CatalogItem, team: Team) -> None:
    team.group.user_set.add(make_user(username="bob"))
    answer = preview(ann, item, many_for(team, how="list", pasted="name,owner\r\na-1,bob\r\na-2,ann\r\n"))
    rows = answer.context["plan"].rows
    assert [(row.name, row.owner) for row in rows] == [("a-1", "bob"), ("a-2", "ann")]
    assert answer.context["plan"].is_clean


def test_submit_is_off_until_the_rows_are_clean(ann: Client, item: CatalogItem, team: Team) -> None:
    answer = preview(ann, item, many_for(team, how="list", pasted="good\nbad_name\ngood\nmine,stranger"))
    assert re.search(r'id="submit" disabled', answer.text)
    assert "3 of 4 cannot be made" in answer.text
    assert "Create the 1 valid one<" in answer.text


def rows_for(team: Team, answer: Any, **fields: Any) -> dict[str, Any]:
    """What the form sends after `answer` was shown."""
    rows = answer.context["plan"].rows
    shown = {
        "name": [row.name for row in rows],
        "owner": [row.owner for row in rows],
        "filled": answer.context["filled"],
    }
    return many_for(team) | shown | fields


def test_edited_rows_are_kept_and_ordered(ann: Client, item: CatalogItem, team: Team) -> None:
    given = rows_for(team, preview(ann, item, many_for(team)), name=["one", "two", "three"])
    assert names_in(preview(ann, item, given)) == ["one", "two", "three"]
    answer = ann.post(f"/catalogue/{item.pk}/many", given)
    order = Order.objects.get()
    assert answer["Location"] == f"/orders/{order.pk}/"
    assert [machine.name for machine in order.machines.all()] == ["one", "two", "three"]


def test_changed_count_keeps_the_rows_that_are_there(ann: Client, item: CatalogItem, team: Team) -> None:
    first = preview(ann, item, many_for(team))
    given = rows_for(team, first, name=["one", "two", "three"])
    assert names_in(preview(ann, item, given | {"count": 4})) == ["one", "two", "three", "web-debian-01"]
    assert names_in(preview(ann, item, given | {"count": 1})) == ["one"]


def test_changed_list_makes_the_rows_anew(ann: Client, item: CatalogItem, team: Team) -> None:
    first = preview(ann, item, many_for(team, how="list", pasted="a\nb"))
    given = rows_for(team, first, how="list", pasted="c")
    assert names_in(preview(ann, item, given)) == ["c"]


def test_row_is_dropped(ann: Client, item: CatalogItem, team: Team) -> None:
    given = rows_for(team, preview(ann, item, many_for(team)))
    answer = preview(ann, item, given | {"drop": "2"})
    assert names_in(answer) == ["web-debian-01", "web-debian-03"]
    assert names_in(preview(ann, item, rows_for(team, answer))) == ["web-debian-01", "web-debian-03"]


def test_all_bad_names_are_fixed_at_once(ann: Client, item: CatalogItem, team: Team) -> None:
    first = preview(ann, item, many_for(team, how="list", pasted="good\nbad_name\ngood"))
    given = rows_for(team, first, how="list", pasted="good\nbad_name\ngood")
    answer = preview(ann, item, given | {"fix": "names"})
    assert names_in(answer) == ["good", "web-debian-01", "web-debian-02"]
    assert answer.context["plan"].is_clean


def test_broken_rows_order_nothing_unless_the_valid_ones_are_asked_for(
    ann: Client, item: CatalogItem, team: Team
) -> None:
    given = many_for(team, how="list", pasted="good\nbad_name")
    assert ann.post(f"/catalogue/{item.pk}/many", given).status_code == 422
    assert not Order.objects.exists()
    ann.post(f"/catalogue/{item.pk}/many", given | {"only_valid": "1"})
    assert [machine.name for machine in Machine.objects.all()] == ["good"]


def test_quota_stops_the_rows_that_do_not_fit(ann: Client, item: CatalogItem, team: Team) -> None:
    answer = preview(ann, item, many_for(team, count=7))
    assert "2 of 7 cannot be made" in answer.text
    assert "no room" in answer.text


def test_running_source_is_told_before(ann: Client, item: CatalogItem, team: Team) -> None:
    running = make_guest(item.source, vmid=300, name="golden", status="running")
    CatalogItem.objects.update(vmid=running.vmid)
    assert "run one after another" in preview(ann, item, many_for(team)).text


def test_policy_on_failure_is_kept_with_the_order(ann: Client, item: CatalogItem, team: Team) -> None:
    ann.post(f"/catalogue/{item.pk}/many", many_for(team, on_failure="stop_after", stop_after=2))
    order = Order.objects.get()
    assert (order.on_failure, order.stop_after) == ("stop_after", 2)


def test_double_click_makes_one_batch(ann: Client, item: CatalogItem, team: Team) -> None:
    given = many_for(team)
    for _ in range(2):
        ann.post(f"/catalogue/{item.pk}/many", given)
    assert (Order.objects.count(), Machine.objects.count()) == (1, 3)


def test_preview_is_a_part_for_htmx_and_a_page_without(ann: Client, item: CatalogItem, team: Team) -> None:
    assert "<html" not in preview(ann, item, many_for(team)).text
    page = ann.post(f"/catalogue/{item.pk}/many/preview", many_for(team)).text
    assert "<html" in page
    assert 'value="web-debian-03"' in page


@pytest.mark.parametrize("count", ["0", "301", "-1", "x", "", "99999999999999999999"])
def test_wrong_count_stays_on_its_field(ann: Client, item: CatalogItem, team: Team, count: str) -> None:
    answer = ann.post(f"/catalogue/{item.pk}/many/preview", many_for(team, count=count))
    assert answer.status_code == 422
    assert answer.context["form"].errors["count"]


@pytest.mark.parametrize("pasted", ["", "\n \n", 'a,"b', "a\0b", "x\n" * 301, "x" * 200_001])
def test_unreadable_list_stays_on_its_field(ann: Client, item: CatalogItem, team: Team, pasted: str) -> None:
    answer = ann.post(f"/catalogue/{item.pk}/many/preview", many_for(team, how="list", pasted=pasted))
    assert answer.status_code == 422
    assert answer.context["form"].errors["pasted"]


@pytest.mark.parametrize("drop", ["x", "-1", "999999", "²"])
def test_wrong_row_to_drop_drops_nothing(ann: Client, item: CatalogItem, team: Team, drop: str) -> None:
    assert len(names_in(preview(ann, item, many_for(team, drop=drop)))) == 3


def test_hostile_cells_are_only_text(ann: Client, item: CatalogItem, team: Team) -> None:
    pasted = '"<script>x</script>",<b>\n=cmd|calc,@bob\n'
    page = preview(ann, item, many_for(team, how="list", pasted=pasted)).text
    assert "<script>x" not in page
    assert "2 of 2 cannot be made" in page


def test_two_hundred_rows_take_as_many_queries_as_two(
    ann: Client, item: CatalogItem, team: Team, django_assert_max_num_queries: Any
) -> None:
    Team.objects.update(max_machines=None, max_cores=None)
    for count in (2, 200):
        with django_assert_max_num_queries(24):
            preview(ann, item, many_for(team, count=count))


def test_list_of_two_hundred_is_ordered(ann: Client, item: CatalogItem, team: Team) -> None:
    Team.objects.update(max_machines=None, max_cores=None)
    pasted = "\n".join(f"lab-{number:03}" for number in range(200))
    first = preview(ann, item, many_for(team, how="list", pasted=pasted))
    ann.post(f"/catalogue/{item.pk}/many", rows_for(team, first, how="list", pasted=pasted))
    assert Order.objects.get().machines.count() == 200
