"""Time limits: defaults, changes, who may, and what passing one does."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.ingest.limits import forget_limits
from tasks_app.ingest.signs import mark_overdue
from tasks_app.kinds import FAMILIES, HOUR, KINDS, MINUTE
from tasks_app.models import Notice, Role, Submission, Task, TimeLimit
from tasks_app.services.submissions import settle_submissions
from tasks_app.services.time_limits import current_limits, limit_seconds, note_overdue, set_time_limits
from tasks_app.states import State
from tests.factories import make_machine, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_limits():
    forget_limits()
    yield
    forget_limits()


def make_submission(**fields):
    source = fields.pop("source", None) or make_source()
    defaults = {
        "source": source,
        "action": "backup",
        "guest_kind": "qemu",
        "node": "pve1",
        "vmid": 100,
        "guest_name": "web-01",
        "actor": make_user(),
        "actor_name": "anna",
        "idempotency_key": f"key-{Submission.objects.count()}",
    }
    return Submission.objects.create(**(defaults | fields))


@pytest.mark.parametrize(
    ("type", "seconds"),
    [
        ("qmclone", 2 * HOUR),
        ("vzdump", 4 * HOUR),
        ("qmsnapshot", 10 * MINUTE),
        ("vzrollback", 10 * MINUTE),
        ("qmstart", 5 * MINUTE),
        ("hastart", 5 * MINUTE),
        ("vzstop", 5 * MINUTE),
        ("qmshutdown", 5 * MINUTE),
        ("vzcreate", 30 * MINUTE),
        ("qmdestroy", 30 * MINUTE),
        ("vncproxy", 24 * HOUR),
        ("never-heard-of", 30 * MINUTE),
    ],
)
def test_defaults_are_those_of_the_guides(type, seconds):
    assert limit_seconds(type) == seconds


def test_every_kind_is_of_a_known_family():
    assert {kind.family for kind in KINDS.values()} <= set(FAMILIES)


def test_a_change_counts_and_is_audited_once(audited, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        set_time_limits(actor=make_user(Role.ADMIN), seconds={"clone": HOUR, "backup": 4 * HOUR})
    assert limit_seconds("qmclone") == HOUR
    assert list(TimeLimit.objects.values_list("family", "seconds")) == [("clone", HOUR)]
    assert audited() == ["limits.change"]
    set_time_limits(actor=make_superuser(), seconds={"clone": HOUR})
    assert audited() == ["limits.change"]
    set_time_limits(actor=make_superuser(), seconds={"clone": 2 * HOUR})
    assert not TimeLimit.objects.exists()
    assert current_limits()["clone"] == 2 * HOUR


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_only_the_portals_admins_change_them(role):
    with pytest.raises(NotPermitted):
        set_time_limits(actor=make_user(role), seconds={"clone": HOUR})


def test_an_admin_of_one_source_does_not():
    with pytest.raises(NotPermitted):
        set_time_limits(actor=make_user(Role.ADMIN, source=make_source()), seconds={"clone": HOUR})


@pytest.mark.parametrize("seconds", [{"clone": 0}, {"clone": 59}, {"clone": 10**9}, {"tea": HOUR}])
def test_nonsense_is_refused_with_its_family(seconds):
    with pytest.raises(InvalidInput) as caught:
        set_time_limits(actor=make_superuser(), seconds=seconds)
    assert set(caught.value.fields) == set(seconds)


def test_limits_are_read_once_for_many_questions(django_assert_num_queries):
    with django_assert_num_queries(1):
        for _ in range(100):
            limit_seconds("qmclone")


def test_a_changed_limit_marks_tasks_overdue():
    TimeLimit.objects.create(family="clone", seconds=MINUTE)
    task = make_task(type="qmclone", started_at=now() - timedelta(minutes=2))
    assert mark_overdue(task.source, [task], at=now()) == 1
    assert Task.objects.get().state == State.PROCESSING


def test_passing_one_tells_who_asked_and_ends_nothing():
    late = make_submission(created_at=now() - timedelta(hours=5))
    make_submission(created_at=now() - timedelta(hours=3), vmid=101)
    for _ in range(3):
        note_overdue()
    late.refresh_from_db()
    assert late.overdue_since is not None
    assert late.state == State.PENDING
    notice = Notice.objects.get()
    assert (notice.user, notice.path) == (late.actor, f"/submissions/{late.pk}/")
    assert notice.text == "Back up web-01 takes longer than 4 h. It may still end well; look at it."


def test_settling_notes_what_is_overdue():
    make_submission(created_at=now() - timedelta(hours=5))
    settle_submissions()
    assert Submission.objects.get().overdue_since is not None


def test_many_steps_of_one_order_are_one_notice():
    machine = make_machine(stage="clone")
    other = make_machine(machine.order, stage="clone")
    for one in (machine, other):
        make_submission(
            source=one.source,
            machine=one,
            step="clone",
            action="clone",
            actor=machine.owner,
            created_at=now() - timedelta(hours=3),
        )
    note_overdue()
    assert Notice.objects.get().path == f"/orders/{machine.order_id}/"
    assert Submission.objects.filter(overdue_since__isnull=False).count() == 2
