"""A token that may not see tasks is told from a cluster that has none."""

import pytest

from tasks_app.models import Node, Role
from tasks_app.services.sight import blind_sources, blindness_of
from tests.factories import make_generation_source, make_source, make_superuser, make_user

pytestmark = pytest.mark.django_db
AUDIT, BLIND = {"Sys.Audit": 1}, {"VM.Audit": 1}


def make_cluster(**permissions):
    paths = {"/" + name.replace("_", "/").strip("/"): held for name, held in permissions.items()}
    source = make_source(permissions=paths)
    for name in ("pve1", "pve2"):
        Node.objects.create(source=source, name=name, status="online")
    return source


def test_a_token_that_sees_all_nodes_is_not_blind():
    assert blindness_of(make_cluster(_=AUDIT)) is None
    assert blindness_of(make_cluster(_=BLIND, nodes=AUDIT)) is None


def test_a_token_without_the_right_at_all():
    source = make_cluster(_=BLIND)
    blind = blindness_of(source)
    assert (blind.privilege, blind.path, blind.nodes, blind.is_whole) == (
        "Sys.Audit",
        "/",
        ("pve1", "pve2"),
        True,
    )
    assert "pveum acl modify / --tokens 'portal@pve!web' --roles PortalView" in blind.command
    assert "pveum acl modify / --users portal@pve --roles PortalView" in blind.command


def test_a_role_further_down_that_takes_it_away_is_named():
    assert blindness_of(make_cluster(_=AUDIT, nodes=BLIND)).path == "/nodes"
    blind = blindness_of(make_cluster(_=AUDIT, nodes_pve2=BLIND))
    assert (blind.path, blind.nodes, blind.is_whole) == ("/nodes/pve2", ("pve2",), False)


def test_before_the_nodes_are_known():
    assert blindness_of(make_source(permissions={"/": BLIND})).is_whole
    assert blindness_of(make_source(permissions={"/": AUDIT})) is None


def test_what_has_not_been_read_is_not_judged():
    assert blindness_of(make_source(permissions={}, permissions_at=None)) is None
    assert blindness_of(make_generation_source()) is None


def test_only_sources_one_sees_are_told():
    here, there = make_cluster(_=BLIND), make_cluster(_=BLIND)
    make_cluster(_=AUDIT)
    assert {blind.source for blind in blind_sources(make_superuser())} == {here, there}
    assert [blind.source for blind in blind_sources(make_user(Role.VIEWER, source=here))] == [here]
    assert not blind_sources(make_user())
    assert not blind_sources(make_user(Role.VIEWER, source=here), source_id=there.pk)


def test_two_queries_for_any_number(django_assert_num_queries):
    for _ in range(3):
        make_cluster(_=BLIND)
    user = make_superuser()
    with django_assert_num_queries(2):
        assert len(blind_sources(user)) == 3
