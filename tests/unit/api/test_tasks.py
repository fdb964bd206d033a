"""GET and DELETE of tasks: the documented shapes, for all tasks, and only what the caller may see."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from tasks_app.models import Asset, AuditEntry, Role, Task
from tasks_app.states import State
from tests.factories import (
    make_asset,
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

STARTED = datetime(2026, 1, 11, 10, 30, 0, 654321, tzinfo=UTC)
OBJECT = ["task_id", "status", "progress", "created_at", "updated_at", "completed_at", "result", "error"]


@pytest.fixture
def admin() -> Caller:
    return Caller(make_superuser())


def get(caller: Caller, task: Task) -> dict:
    answer = caller.get(f"/tasks/{task.api_id}")
    assert answer.status_code == 200
    return answer.json()


def test_running_video_has_the_documented_shape(admin):
    generation = make_generation(
        state=State.PROCESSING,
        asked_at=STARTED,
        task={"percent": 45.9, "changed_at": STARTED + timedelta(seconds=15)},
    )
    found = get(admin, generation.task)
    assert list(found) == OBJECT
    assert found == {
        "task_id": f"vid_{generation.pk}",
        "status": "processing",
        "progress": 45,
        "created_at": "2026-01-11T10:30:00Z",
        "updated_at": "2026-01-11T10:30:15Z",
        "completed_at": None,
        "result": None,
        "error": None,
    }


@pytest.mark.parametrize(("kind", "prefix"), [("video", "vid"), ("image", "img"), ("workflow", "workflow")])
def test_each_kind_has_its_prefix(admin, kind, prefix):
    generation = make_generation(kind=kind)
    assert get(admin, generation.task)["task_id"] == f"{prefix}_{generation.pk}"


def test_completed_video_leads_to_our_copy_at_both_places_clients_look(admin):
    generation = make_generation(
        make_generation_source(name="veo3"),
        state=State.COMPLETED,
        asked_at=STARTED,
        task={"ended_at": STARTED + timedelta(seconds=60.52), "changed_at": STARTED + timedelta(seconds=61)},
    )
    asset = make_asset(
        generation, state=Asset.State.COPIED, media_type="video/mp4", size=5, sha256="ab", name="video.mp4"
    )
    found = get(admin, generation.task)
    url = "http://testserver" + reverse("portal:result-file", args=[asset.pk, "video.mp4"])
    assert found["status"] == "completed"
    assert found["progress"] == 100
    assert found["completed_at"] == "2026-01-11T10:31:01Z"
    assert found["updated_at"] == "2026-01-11T10:31:01Z"
    assert found["result"] == {
        "service": "veo3",
        "result": {
            "video_url": url,
            "assets": [
                {
                    "name": "video.mp4",
                    "url": url,
                    "state": "copied",
                    "media_type": "video/mp4",
                    "size": 5,
                    "sha256": "ab",
                }
            ],
        },
        "video_url": url,
        "duration": 60.5,
    }
    assert "127.0.0.1:1" not in str(found)  # the remote's own address


def test_while_it_is_being_copied_the_address_is_told_already(admin):
    asset = make_asset()
    result = get(admin, asset.generation.task)["result"]
    assert result["copying"] is True
    assert result["video_url"] == result["result"]["video_url"]
    assert result["video_url"].endswith(f"/results/{asset.pk}/result")
    Asset.objects.update(state=Asset.State.FAILED)
    result = get(admin, asset.generation.task)["result"]
    assert "copying" not in result
    assert result["video_url"] is None
    assert result["result"]["assets"][0]["state"] == "failed"


def test_image_has_an_image_url(admin):
    generation = make_generation(kind="image", state=State.COMPLETED)
    make_asset(generation, state=Asset.State.COPIED, media_type="image/png", name="a.png")
    result = get(admin, generation.task)["result"]
    assert result["image_url"].endswith("/a.png")
    assert "video_url" not in result


def test_a_workflow_of_pictures_has_an_image_url(admin):
    generation = make_generation(kind="workflow", state=State.COMPLETED)
    make_asset(generation, state=Asset.State.COPIED, media_type="image/png", name="a.png")
    assert get(admin, generation.task)["result"]["image_url"].endswith("/a.png")


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("content_policy", "content_policy"),
        ("provider", "VideoGenerationError"),
        ("", "VideoGenerationError"),
    ],
)
def test_failed_video_tells_type_and_message(admin, kind, type_):
    generation = make_generation(
        state=State.FAILED,
        problem_kind=kind,
        problem_detail="Traceback (most recent call last)",
        task={"error_line": "Content policy violation", "percent": 35.0},
    )
    found = get(admin, generation.task)
    assert found["error"] == {"type": type_, "message": "Content policy violation"}
    assert (found["progress"], found["completed_at"], found["result"]) == (35, None, None)


def test_a_failure_without_words_says_what_its_kind_means(admin):
    generation = make_generation(state=State.FAILED, problem_kind="no_credit")
    assert get(admin, generation.task)["error"] == {
        "type": "no_credit",
        "message": "The account has no credit left",
    }


def test_unknown_end_is_a_failure_that_says_so(admin):
    found = get(admin, make_task(state=State.LOST))
    assert found["status"] == "failed"
    assert found["error"] == {"type": "OutcomeUnknown", "message": "Nobody saw how it ended."}


def test_cancelled_is_no_error(admin):
    found = get(admin, make_task(state=State.CANCELLED))
    assert (found["status"], found["error"], found["completed_at"]) == ("cancelled", None, None)


@pytest.mark.parametrize(("percent", "progress"), [(None, 0), (0.0, 0), (99.99, 99), (100.0, 99), (7.2, 7)])
def test_progress_is_whole_and_below_100_until_the_end(admin, percent, progress):
    assert get(admin, make_task(percent=percent))["progress"] == progress


def test_proxmox_task_by_its_id_and_by_its_upid(admin):
    task = make_task(type="qmclone", state=State.COMPLETED, new_vmid=207, started_at=STARTED)
    found = get(admin, task)
    assert found["task_id"] == f"pve_{task.pk}"
    assert found["result"] == {
        "service": "proxmox",
        "result": {
            "upid": task.remote_id,
            "node": "pve1",
            "type": "qmclone",
            "exit_status": "OK",
            "vmid": 100,
            "new_vmid": 207,
        },
        "duration": 30.0,
    }
    assert admin.get(f"/tasks/{task.remote_id}").json() == found
    assert admin.get(f"/tasks/pve_{task.pk}/").json() == found


@pytest.mark.parametrize(
    "task_id",
    [
        "vid_999999",
        "pve_x",
        "nonsense",
        "order_1",
        "sub_1",
        "vid_",
        "order_" + "9" * 30,
        "UPID:x",
        "a\0b",
        "é_1",
    ],
    ids=["none", "letters", "word", "order", "sub", "bare", "huge", "upid", "nul", "accent"],
)
def test_unknown_task_is_404_as_json(admin, task_id):
    answer = admin.get(f"/tasks/{task_id}")
    assert error_of(answer) == (404, "TASK_NOT_FOUND")


def test_prefix_must_fit_the_task(admin):
    assert error_of(admin.get(f"/tasks/vid_{make_task().pk}")) == (404, "TASK_NOT_FOUND")


def test_stranger_cannot_tell_that_a_task_exists():
    task, stranger = make_task(), Caller(make_user())
    unknown = stranger.get("/tasks/pve_999999").json()
    found = stranger.get(f"/tasks/{task.api_id}")
    assert found.status_code == 404
    assert str(found.json()).replace(str(task.pk), "999999") == str(unknown)
    assert stranger.delete(f"/tasks/{task.api_id}").status_code == 404
    assert stranger.get("/tasks").json() == []


def test_removed_result_has_expired_and_is_in_no_list(admin):
    generation = make_generation(state=State.COMPLETED, cleaned_at=STARTED)
    answer = admin.get(f"/tasks/{generation.task.api_id}")
    assert error_of(answer) == (404, "TASK_EXPIRED")
    assert "Task expired" in answer.json()["error"]["message"]
    assert error_of(admin.delete(f"/tasks/{generation.task.api_id}")) == (404, "TASK_EXPIRED")
    assert admin.get("/tasks").json() == []


def test_one_task_costs_few_queries(admin, django_assert_max_num_queries):
    generation = make_generation(state=State.COMPLETED)
    for _ in range(5):
        make_asset(generation, state=Asset.State.COPIED, media_type="video/mp4")
    admin.get("/tasks")
    with django_assert_max_num_queries(4):  # token, may see, task, assets
        admin.get(f"/tasks/{generation.task.api_id}")


# cancelling


def test_cancel_of_a_running_task_is_requested_and_audited(admin):
    task = make_task()
    answer = admin.delete(f"/tasks/{task.api_id}")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "success": True,
            "message": f"Cancellation of task pve_{task.pk} has been requested",
            "task_id": f"pve_{task.pk}",
        },
    )
    task.refresh_from_db()
    assert task.cancel_requested_by == admin.user
    assert AuditEntry.objects.filter(action="task.cancel", actor_id=admin.user.pk).count() == 1
    assert admin.delete(f"/tasks/{task.api_id}").status_code == 200  # asking twice is harmless
    assert AuditEntry.objects.filter(action="task.cancel").count() == 1


def test_cancel_of_a_video_that_still_waits_here_withdraws_it(admin):
    generation = make_generation()
    task_id = generation.task.api_id
    answer = admin.delete(f"/tasks/{task_id}")
    assert answer.json() == {
        "success": True,
        "message": f"Task {task_id} has been cancelled",
        "task_id": task_id,
    }
    assert get(admin, generation.task)["status"] == "cancelled"
    assert error_of(admin.delete(f"/tasks/{task_id}")) == (409, "TASK_ALREADY_FINISHED")


def test_cancel_of_a_video_at_the_provider_is_requested(admin):
    generation = make_generation(state=State.PROCESSING)
    answer = admin.delete(f"/tasks/{generation.task.api_id}")
    assert answer.json()["message"] == f"Cancellation of task vid_{generation.pk} has been requested"
    assert get(admin, generation.task)["status"] == "processing"
    assert admin.get("/tasks").json()[0]["message"] == "Cancellation requested"


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_cancel_of_a_finished_task_is_409_and_changes_nothing(admin, state):
    task = make_task(state=state)
    before = Task.objects.filter(pk=task.pk).values().get()
    answer = admin.delete(f"/tasks/{task.api_id}")
    assert error_of(answer) == (409, "TASK_ALREADY_FINISHED")
    assert Task.objects.filter(pk=task.pk).values().get() == before
    assert not AuditEntry.objects.filter(action="task.cancel").exists()


def test_cancel_by_a_viewer_is_403_and_audited():
    task = make_task()
    viewer = Caller(make_user(Role.VIEWER))
    assert error_of(viewer.delete(f"/tasks/{task.api_id}")) == (403, "NOT_PERMITTED")
    entry = AuditEntry.objects.get(action="permission.denied")
    assert (entry.actor_name, entry.result) == (viewer.user.username, "refused")
    task.refresh_from_db()
    assert task.cancel_requested_at is None


def test_cancel_on_a_paused_source_is_409(admin):
    task = make_task(make_source(paused_at=STARTED))
    assert error_of(admin.delete(f"/tasks/{task.api_id}")) == (409, "SOURCE_PAUSED")


def test_member_sees_what_the_team_makes():
    member = make_user()
    team = make_team(member)
    generation = make_generation(team=team, actor=member)
    foreign = make_generation()
    caller = Caller(member)
    assert caller.get(f"/tasks/{generation.task.api_id}").status_code == 200
    assert caller.get(f"/tasks/{foreign.task.api_id}").status_code == 404
