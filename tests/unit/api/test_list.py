"""GET /api/v1/tasks: a bare array, filters, pages by the Link header, few queries."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.models import Role
from tasks_app.states import State
from tests.factories import (
    make_generation,
    make_generation_source,
    make_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)
from tests.unit.api.conftest import Caller, error_of

pytestmark = pytest.mark.django_db

STARTED = datetime(2026, 1, 11, 10, 30, tzinfo=UTC)


@pytest.fixture
def admin() -> Caller:
    return Caller(make_superuser())


def ids(answer) -> list[str]:
    assert answer.status_code == 200
    return [row["task_id"] for row in answer.json()]


def next_of(answer) -> str:
    """The address in the Link header, "" without one."""
    link = answer.headers.get("Link", "")
    assert not link or link.endswith('>; rel="next"')
    return link.removeprefix("<").partition(">")[0]


def test_rows_have_the_documented_shape_newest_first(admin):
    old = make_task(
        state=State.COMPLETED, started_at=STARTED, changed_at=STARTED + timedelta(seconds=60), type="qmclone"
    )
    new = make_generation(
        state=State.PROCESSING,
        asked_at=STARTED + timedelta(seconds=120),
        task={"percent": 60.0, "changed_at": STARTED + timedelta(seconds=150)},
    )
    answer = admin.get("/tasks")
    assert answer.json() == [
        {
            "task_id": f"vid_{new.pk}",
            "status": "processing",
            "progress": 60,
            "created_at": "2026-01-11T10:32:00Z",
            "updated_at": "2026-01-11T10:32:30Z",
            "message": "Task processing started",
        },
        {
            "task_id": f"pve_{old.pk}",
            "status": "completed",
            "progress": 100,
            "created_at": "2026-01-11T10:30:00Z",
            "updated_at": "2026-01-11T10:31:00Z",
            "message": "Task completed successfully",
        },
    ]
    assert "Link" not in answer.headers
    assert admin.get("/tasks/").json() == answer.json()  # as the guide's real server has it


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state": State.PENDING}, "Task is waiting to start"),
        ({"step": "Drive 1 of 2"}, "Drive 1 of 2"),
        ({"cancel_requested_at": STARTED}, "Cancellation requested"),
        ({"state": State.COMPLETED, "warnings": 2}, "Task completed with 2 warnings"),
        ({"state": State.CANCELLED}, "Task was cancelled"),
        ({"state": State.FAILED, "error_line": "no\nspace " + "x" * 600}, "no space " + "x" * 490 + "…"),
        ({"state": State.LOST}, "Nobody saw how it ended."),
    ],
    ids=["pending", "step", "cancelling", "warnings", "cancelled", "failed", "lost"],
)
def test_message_says_where_it_stands(admin, fields, message):
    make_task(**fields)
    assert [row["message"] for row in admin.get("/tasks").json()] == [message]


def test_pages_follow_each_other_without_gap_or_repeat(admin):
    same = [make_task(started_at=STARTED) for _ in range(4)]
    later = [make_task(started_at=STARTED + timedelta(seconds=number)) for number in range(1, 4)]
    wanted = [f"pve_{task.pk}" for task in [*reversed(later), *reversed(same)]]
    answer = admin.get("/tasks", limit=2, status="processing")
    found = ids(answer)
    while address := next_of(answer):
        assert parse_qs(urlsplit(address).query)["status"] == ["processing"]
        assert address.startswith("http://testserver/api/v1/tasks?")
        make_task(started_at=STARTED + timedelta(days=1))  # what comes meanwhile moves nothing
        answer = admin.client.get(address)
        found += ids(answer)
    assert found == wanted


def test_last_full_page_has_no_next(admin):
    make_task()
    make_task()
    assert next_of(admin.get("/tasks", limit=2)) == ""


@pytest.mark.parametrize("number", [3, 30])
def test_queries_do_not_grow_with_rows(number):
    member = make_user(Role.OPERATOR)
    team, source = make_team(member), make_generation_source()
    for _ in range(number):
        make_generation(source, team=team, actor=member)
        make_task(state=State.FAILED)
    caller = Caller(member)
    caller.get("/tasks")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(caller.get("/tasks").json()) == number * 2
    assert len(queries) <= 4  # token, teams, roles, page


def filtered(caller: Caller, **query) -> set[str]:
    return set(ids(caller.get("/tasks", **query)))


def test_filters(admin):
    studio, cluster = make_generation_source(name="veo3"), make_source(name="prod")
    video = make_generation(studio, prompt="A red fox", asked_at=STARTED, task={"search_text": "a red fox"})
    mine = make_generation(
        studio, actor=admin.user, asked_at=STARTED + timedelta(hours=1), kind="image", prompt="A cat"
    )
    clone = make_task(cluster, type="qmclone", state=State.FAILED, started_at=STARTED + timedelta(hours=2))
    lost = make_task(cluster, state=State.LOST, started_at=STARTED + timedelta(hours=3), object_id="217")
    v, m, c, x = (task.api_id for task in (video.task, mine.task, clone, lost))
    assert filtered(admin) == {v, m, c, x}
    assert filtered(admin, status="failed") == {c, x}
    assert filtered(admin, status="pending") == {v, m}
    assert filtered(admin, status="pending,failed") == {v, m, c, x}
    assert filtered(admin, status="completed") == set()
    assert filtered(admin, source="veo3") == {v, m}
    assert filtered(admin, source="nobody") == set()
    assert filtered(admin, type="image,qmclone") == {m, c}
    assert filtered(admin, since="2026-01-11T11:30:00Z") == {m, c, x}
    assert filtered(admin, since="2026-01-11T13:30:00+02:00", until="2026-01-11T12:30:00") == {m}
    assert filtered(admin, q="RED fox") == {v}
    assert filtered(admin, q="217") == {x}
    assert filtered(admin, q=clone.remote_id) == {c}
    assert filtered(admin, q="a\0b") == set()
    assert filtered(admin, mine="true") == {m}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "501"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "running"}, "status"),
        ({"since": "yesterday"}, "since"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "äöü"}, "cursor"),
        ({"mine": "perhaps"}, "mine"),
        ({"q": "x" * 1001}, "q"),
    ],
    ids=["501", "0", "word", "status", "since", "cursor", "cursor letters", "mine", "long"],
)
def test_wrong_filter_is_422_that_names_it(admin, query, field):
    answer = admin.get("/tasks", **query)
    assert error_of(answer) == (422, "VALIDATION_ERROR")
    assert list(answer.json()["error"]["fields"]) == [field]


def test_member_finds_the_source_of_the_team_by_name():
    member = make_user()
    source = make_generation_source(name="veo3")
    source.teams.add(team := make_team(member))
    generation = make_generation(source, team=team, actor=member)
    make_generation(source)
    assert filtered(Caller(member), source="veo3") == {generation.task.api_id}
