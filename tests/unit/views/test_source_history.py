"""The page of a cluster: gaps in its history, what its token may not see, which logs are kept."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from tasks_app.ingest.gaps import store_gap
from tasks_app.ingest.log_keeping import LARGEST_KB, LogKeeping, read_log_keeping
from tasks_app.models import AuditEntry, Node, Role, Source
from tests.factories import make_generation_source, make_source, make_task, make_user

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def signed_in(role, source=None):
    client = Client()
    client.force_login(make_user(role, source=source))
    return client


@pytest.fixture
def source():
    made = make_source(name="prod")
    for name in ("pve1", "pve2"):
        Node.objects.create(source=made, name=name, status="online", first_synced_at=AT, seen_at=AT)
    return made


# gaps


def test_a_gap_shows_in_the_nodes_row_and_with_its_times(source):
    store_gap(source.nodes.get(name="pve2"), since=AT - timedelta(hours=3), until=AT, at=AT)
    page = signed_in(Role.VIEWER).get(f"/sources/{source.pk}/").text
    rows = [row for row in page.split("<tr>") if 'scope="row"' in row]
    assert "gap" not in next(row for row in rows if "pve1</th>" in row)
    assert "1 gap" in next(row for row in rows if "pve2</th>" in row)
    assert "20 Nov 2026, 07:00 to 20 Nov 2026, 10:00: tasks may be missing" in page


def test_without_gaps_nothing_is_said_of_them(source):
    assert "Gaps in the history" not in signed_in(Role.VIEWER).get(f"/sources/{source.pk}/").text


def test_a_node_that_was_never_read_says_so(source):
    Node.objects.filter(name="pve2").update(first_synced_at=None, status="offline")
    assert "not read yet" in signed_in(Role.VIEWER).get(f"/sources/{source.pk}/").text


# sight


@pytest.fixture
def blind(source):
    Source.objects.filter(pk=source.pk).update(permissions={"/": {"VM.Audit": 1}})
    return source


def test_an_admin_is_given_the_command_on_the_page_of_the_source(blind):
    page = signed_in(Role.ADMIN).get(f"/sources/{blind.pk}/").text
    assert "No permission to see tasks" in page
    assert "pveum acl modify / --tokens" in page
    assert page.count("own tasks only") == 2


def test_others_are_told_what_is_missing_and_not_the_token(blind):
    page = signed_in(Role.VIEWER).get(f"/sources/{blind.pk}/").text
    assert "No permission to see tasks" in page
    assert "<code>Sys.Audit</code> on <code>/</code>" in page
    assert blind.token_id not in page


def test_the_list_of_that_source_is_no_permission_and_not_merely_filtered(blind):
    make_task(make_source())
    viewer = signed_in(Role.VIEWER)
    page = viewer.get(f"/tasks/?source={blind.pk}").text
    assert "as far as the token may see" in page
    assert "lacks <code>Sys.Audit</code>" in page
    assert "pveum acl modify" in page


def test_an_empty_list_of_another_source_says_nothing_of_it(blind):
    other = make_source()
    page = signed_in(Role.VIEWER).get(f"/tasks/?source={other.pk}").text
    assert "Sys.Audit" not in page


# logs


def post(client, source, **fields):
    return client.post(f"/sources/{source.pk}/logs", fields)


@pytest.mark.parametrize(
    ("role", "status"), [(Role.ADMIN, 302), (Role.OPERATOR, 403), (Role.VIEWER, 403), (Role.AUDITOR, 403)]
)
def test_only_admins_of_the_source_change_what_is_kept(source, role, status):
    client = signed_in(role, source)
    assert post(client, source, limit_kb=64).status_code == status
    is_changed = read_log_keeping(Source.objects.get(pk=source.pk).settings) == LogKeeping(64, False)
    assert is_changed == (role is Role.ADMIN)
    assert ("Logs that are kept" in client.get(f"/sources/{source.pk}/").text) == (role is Role.ADMIN)


def test_strangers_and_sources_of_another_kind_have_no_such_page(source):
    assert post(signed_in(Role.ADMIN, make_source()), source, limit_kb=64).status_code == 404
    assert post(signed_in(Role.ADMIN), make_generation_source(), limit_kb=64).status_code == 404


def test_a_change_leaves_one_entry_with_what_was_changed(source):
    client = signed_in(Role.ADMIN)
    post(client, source, limit_kb=64, keeps_foreign="on")
    post(client, source, limit_kb=64, keeps_foreign="on")
    entry = AuditEntry.objects.get(action="source.change")
    assert (entry.data["before"], entry.data["after"]) == ({"log_limit_kb": LARGEST_KB}, {"log_limit_kb": 64})
    assert entry.target_name == "prod"


def test_other_settings_of_the_source_stay(source):
    Source.objects.filter(pk=source.pk).update(settings={"something": 1})
    post(signed_in(Role.ADMIN), source, limit_kb=64)
    assert Source.objects.get(pk=source.pk).settings["something"] == 1


@pytest.mark.parametrize("limit", ["", "15", "99999999", "x", "-1", "1e9"])
def test_a_limit_that_makes_no_sense_stays_in_the_form(source, limit):
    assert post(signed_in(Role.ADMIN), source, limit_kb=limit).status_code == 422
    assert Source.objects.get(pk=source.pk).settings == {}
