"""Who really did a task: from the submission, else from the map of identities, else nobody knows."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tasks_app.ingest import persons
from tasks_app.ingest.persons import describe_person, name_again, read_persons
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import KnownIdentity, Submission, Task
from tasks_app.sources.base import TaskObservation
from tests.factories import make_generation, make_generation_source, make_source, make_task, make_upid

pytestmark = pytest.mark.django_db
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def know(name, user, token="", *, source=None):
    return KnownIdentity.objects.create(source=source, remote_user=user, remote_token=token, person_name=name)


def seen(user="ann@pve", token=""):
    owner = f"{user}!{token}" if token else user
    return TaskObservation(
        remote_id=make_upid(user=owner, started_at=BEGIN),
        node="pve1",
        type="qmstart",
        object_id="100",
        user=user,
        token=token,
        started_at=BEGIN,
        running=None,
    )


def ingest(source, *observations):
    ingest_observations(source, observations, at=now(), sleep=lambda _: None)
    return [Task.objects.get(remote_id=one.remote_id).person for one in observations]


def test_a_user_is_the_person_that_was_named_on_this_cluster_else_on_all():
    lab, other = make_source(), make_source()
    know("Everybody's Ann", "ann@pve")
    know("Ann of the lab", "ann@pve", source=lab)
    assert ingest(lab, seen()) == ["Ann of the lab"]
    assert ingest(other, seen()) == ["Everybody's Ann"]
    assert ingest(other, seen("bob@pve")) == [""]


def test_a_token_is_an_identity_of_its_own():
    source = make_source()
    know("Ann", "ann@pve")
    know("The backup script", "ann@pve", "backup")
    assert ingest(source, seen("ann@pve", "backup"), seen("ann@pve", "other")) == ["The backup script", ""]


def test_the_portals_own_token_names_nobody_by_itself():
    source = make_source(token_id="portal@pve!web")
    know("Somebody", "portal@pve", "web")
    know("Its user", "portal@pve")
    assert ingest(source, seen("portal@pve", "web"), seen("portal@pve")) == ["", "Its user"]


def test_what_was_asked_for_here_names_who_asked():
    source = make_source()
    know("Somebody", "ann@pve")
    one = seen()
    Submission.objects.create(
        source=source,
        action="start",
        guest_kind="qemu",
        node="pve1",
        vmid=100,
        actor_name="boss",
        idempotency_key="k",
        remote_id=one.remote_id,
    )
    assert ingest(source, one) == ["boss"]


def test_the_map_is_read_once_for_many():
    source = make_source()
    know("Ann", "ann@pve")
    ingest(source, seen())
    with CaptureQueriesContext(connection) as queries:
        ingest(source, *(seen() for _ in range(100)))
    assert sum("knownidentity" in query["sql"] for query in queries) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"person": "ann", "remote_user": "root@pam", "remote_token": "web"}, "ann"),
        ({"remote_user": "root@pam", "remote_token": "web"}, "unknown person using token web"),
        ({"remote_user": "root@pam"}, "unknown person behind root@pam"),
        ({"remote_user": ""}, ""),
    ],
    ids=["known", "token", "user", "nobody"],
)
def test_what_is_not_known_is_said_to_be_unknown(fields, words):
    assert describe_person(Task(**fields)) == words


def test_names_are_written_anew_for_foreign_tasks_of_the_identity_only():
    source, other = make_source(), make_source()
    mine, theirs = make_task(source, remote_user="ann@pve"), make_task(other, remote_user="ann@pve")
    by_token = make_task(source, remote_user="ann@pve", remote_token="web")
    asked = make_task(source, remote_user="ann@pve", person="boss", submission=_submission(source))
    video = make_generation(make_generation_source(), task={"remote_user": "ann@pve", "person": "ann"})
    know("Ann", "ann@pve", source=source)
    know("Web", "ann@pve", "web")
    assert name_again([("ann@pve", "")], sleep=lambda _: None) == 1
    names = dict(Task.objects.values_list("pk", "person"))
    assert [names[task.pk] for task in (mine, theirs, by_token, asked)] == ["Ann", "", "", "boss"]
    assert names[video.pk] == "ann"
    assert name_again([("ann@pve", "")], sleep=lambda _: None) == 0
    assert name_again([], sleep=lambda _: None) == 0


def test_many_tasks_are_named_in_small_writes(monkeypatch):
    monkeypatch.setattr(persons, "RANGE_ROWS", 3)
    monkeypatch.setattr(persons, "WRITE_ROWS", 2)
    source = make_source()
    for _ in range(11):
        make_task(source, remote_user="ann@pve")
    know("Ann", "ann@pve")
    pauses, ranges = [], []
    assert name_again([("ann@pve", "")], sleep=pauses.append, on_range=lambda: ranges.append(1)) == 11
    assert len(ranges) >= 4
    assert len(pauses) >= 6
    assert set(Task.objects.values_list("person", flat=True)) == {"Ann"}


def test_a_source_without_a_token_has_no_identity_of_its_own():
    know("Ann", "ann@pve")
    assert read_persons(make_source(token_id="")).of("ann@pve", "") == "Ann"


def _submission(source):
    return Submission.objects.create(
        source=source, action="start", guest_kind="qemu", node="pve1", vmid=100, idempotency_key="s"
    )
