"""What a browser gets on /live/, over a real connection."""

import pytest

from tasks_app.models import Grant, LogLine, Role, Task, TaskEvent, TaskLog
from tasks_app.states import State
from tests.factories import add_log, make_source, make_superuser, make_task, make_user
from tests.integration.live.server import Stream, sign_in, wait_until

Kind = TaskEvent.Kind


def tell(task, kind=Kind.STATE) -> int:
    return TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=kind).pk


def tell_source(source) -> int:
    return TaskEvent.objects.create(source_id=source.pk, kind=Kind.SOURCE).pk


@pytest.fixture
def admin_session(transactional_db):
    return sign_in(make_superuser())


def one_frame(stream):
    stream.read_until(lambda s: s.frames)
    stream.read_for(0.4)
    (frame,) = stream.frames
    return frame


def test_a_changed_task_arrives_as_a_row_for_its_list(web, admin_session):
    task = make_task()
    stream = Stream(web.port, "tasks", admin_session).wait_until_served()
    event_id = tell(task)
    frame = one_frame(stream)
    assert (frame.event, frame.id) == ("fragment", str(event_id))
    assert f'<tr id="task-{task.pk}"' in frame.data
    assert 'hx-swap-oob="true"' in frame.data


def test_a_changed_task_arrives_as_a_header_for_its_own_page(web, admin_session):
    task = make_task()
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task)
    tell(make_task())
    assert f'<section id="status-{task.pk}"' in one_frame(stream).data


def test_a_part_of_several_lines_keeps_its_line_breaks(web, admin_session):
    task = make_task()
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task)
    assert one_frame(stream).data.split("\n")[1:] == ["  Running", "</section>"]


def test_a_new_task_is_announced_to_lists(web, admin_session):
    stream = Stream(web.port, "tasks", admin_session).wait_until_served()
    task = make_task()
    tell(task, Kind.NEW)
    frame = one_frame(stream)
    assert (frame.event, frame.json) == ("new", {"id": task.pk})


def test_a_source_arrives_as_its_card(web, admin_session):
    source = make_source()
    stream = Stream(web.port, "sources", admin_session).wait_until_served()
    tell_source(source)
    assert f'<li id="source-{source.pk}"' in one_frame(stream).data


def test_the_dashboard_hears_once_that_something_of_a_source_changed(web, admin_session):
    source = make_source()
    tasks = [make_task(source) for _ in range(3)]
    stream = Stream(web.port, "dashboard", admin_session).wait_until_served()
    TaskEvent.objects.bulk_create(
        TaskEvent(task_id=task.pk, source_id=source.pk, kind=Kind.STATE) for task in tasks
    )
    stream.read_until(lambda s: any(frame.event == "changed" for frame in s.frames))
    stream.read_for(0.4)
    assert [frame.json for frame in stream.frames if frame.event == "changed"] == [{"source": source.pk}]


def test_progress_travels_as_numbers_and_words(web, admin_session):
    task = make_task(percent=62.5, step="disk 1 of 2")
    stream = Stream(web.port, f"tasks,task:{task.pk}", admin_session).wait_until_served()
    tell(task, Kind.PROGRESS)
    frame = one_frame(stream)
    assert frame.event == "progress"
    assert frame.json == {"id": task.pk, "percent": 62.5, "text": "62 % · disk 1 of 2"}


def test_progress_comes_at_most_four_times_a_second(web, admin_session):
    task = make_task(percent=1)
    stream = Stream(web.port, "tasks", admin_session).wait_until_served()
    for percent in range(1, 41):
        Task.objects.filter(pk=task.pk).update(percent=percent)
        tell(task, Kind.PROGRESS)
        stream.read_for(0.025)
    stream.read_until(lambda s: s.frames and s.frames[-1].json["percent"] == 40)
    assert 2 <= len(stream.frames) <= 8


def test_several_changes_of_a_task_make_one_part_with_the_last_id(web, admin_session):
    task = make_task()
    stream = Stream(web.port, "tasks", admin_session).wait_until_served()
    events = TaskEvent.objects.bulk_create(
        TaskEvent(task_id=task.pk, source_id=task.source_id, kind=kind)
        for kind in (Kind.STATE, Kind.PROGRESS, Kind.STATE, Kind.PROGRESS)
    )
    frame = one_frame(stream)
    assert (frame.event, frame.id) == ("fragment", str(events[-1].pk))


def test_log_lines_follow_each_other_and_the_last_one_comes_again(web, admin_session):
    task = make_task()
    add_log(task, "first", "seco")
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task, Kind.LOG)
    stream.read_until(lambda s: len(s.frames) == 1)
    LogLine.objects.filter(task=task, number=2).update(text="second")
    add_log(task, "third")
    tell(task, Kind.LOG)
    stream.read_until(lambda s: len(s.frames) == 2)
    assert [frame.json for frame in stream.frames] == [
        {"id": task.pk, "first": 1, "lines": ["first", "seco"], "kinds": ["normal"] * 2, "total": 2},
        {"id": task.pk, "first": 2, "lines": ["second", "third"], "kinds": ["normal"] * 2, "total": 3},
    ]


def test_log_lines_come_printable_and_with_their_kinds(web, admin_session):
    task = make_task()
    add_log(task, "\x1b[1mINFO\x1b[0m: a\rtransferred 1.0 GiB of 2.0 GiB (50.00%)", "TASK ERROR: no space")
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task, Kind.LOG)
    said = one_frame(stream).json
    assert said["lines"] == ["transferred 1.0 GiB of 2.0 GiB (50.00%)", "TASK ERROR: no space"]
    assert said["kinds"] == ["progress", "error"]


def test_too_many_new_lines_are_left_to_the_page(web, admin_session):
    task = make_task()
    add_log(task, "first")
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task, Kind.LOG)
    stream.read_until(lambda s: len(s.frames) == 1)
    add_log(task, *(f"line {number}" for number in range(600)))
    tell(task, Kind.LOG)
    stream.read_until(lambda s: len(s.frames) == 2)
    assert stream.frames[1].json == {"id": task.pk, "first": 1, "lines": [], "kinds": [], "total": 601}


def test_a_line_that_is_far_too_long_is_left_to_the_page(web, admin_session):
    task = make_task()
    add_log(task, "x" * 300_000)
    stream = Stream(web.port, f"task:{task.pk}", admin_session).wait_until_served()
    tell(task, Kind.LOG)
    assert one_frame(stream).json == {"id": task.pk, "first": 1, "lines": [], "kinds": [], "total": 1}


def test_the_poller_is_told_that_somebody_looks(web, admin_session):
    task, other, ended = make_task(), make_task(), make_task(state=State.COMPLETED)
    TaskLog.objects.create(task=ended, is_complete=True)
    topics = f"task:{task.pk},task:{ended.pk}"
    Stream(web.port, topics, admin_session).wait_until_served()
    rows = Task.objects.in_bulk([task.pk, other.pk, ended.pk])
    assert rows[task.pk].watched_until is not None
    assert rows[other.pk].watched_until is rows[ended.pk].watched_until is None


def test_a_stranger_hears_nothing(web):
    source, other = make_source(), make_source()
    task, foreign = make_task(source), make_task(other)
    session = sign_in(make_user(Role.VIEWER, source=source))
    stream = Stream(web.port, "tasks,sources,dashboard", session).wait_until_served()
    tell(foreign)
    tell(foreign, Kind.NEW)
    tell(foreign, Kind.PROGRESS)
    tell_source(other)
    last = tell(task)
    stream.read_until(lambda s: any(frame.id == str(last) and frame.event == "changed" for frame in s.frames))
    assert {frame.id for frame in stream.frames} == {str(last)}


def test_what_was_missed_by_a_stranger_stays_unseen_on_return(web):
    source = make_source()
    foreign = make_task()
    start = tell(foreign)
    tell(foreign)
    session = sign_in(make_user(Role.VIEWER, source=source))
    stream = Stream(web.port, "tasks,dashboard", session, after=start).wait_until_served()
    assert stream.frames == []


@pytest.mark.parametrize(
    "topics", ["", "everything", "task:", "task:x", "task:-1", "task:0", "task:" + "9" * 30]
)
def test_unknown_topics_are_refused(web, admin_session, topics):
    stream = Stream(web.port, topics, admin_session)
    assert stream.status == 400
    assert stream.body()["error"]["message"]


def test_anonymous_is_asked_to_sign_in(web):
    assert Stream(web.port, "tasks").status == 401


def test_a_made_up_session_is_asked_to_sign_in(web):
    assert Stream(web.port, "tasks", "x" * 32).status == 401


def test_an_inactive_person_is_refused(web):
    user = make_user(Role.VIEWER)
    session = sign_in(user)
    user.is_active = False
    user.save()
    assert Stream(web.port, "tasks", session).status == 403


def test_a_changed_password_ends_the_session_here_too(web):
    user = make_user(Role.VIEWER)
    session = sign_in(user)
    user.set_password("another long password")
    user.save()
    assert Stream(web.port, "tasks", session).status == 401


@pytest.mark.parametrize("exists", [True, False])
def test_an_invisible_task_is_not_there(web, exists):
    session = sign_in(make_user(Role.VIEWER, source=make_source()))
    pk = make_task().pk if exists else 987654
    stream = Stream(web.port, f"task:{pk}", session)
    assert (stream.status, stream.body()) == (404, {"error": {"message": "There is no such task."}})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_may_not_listen(web, admin_session, headers):
    assert Stream(web.port, "tasks", admin_session, headers=headers).status == 403


def test_the_own_origin_may_listen(web, admin_session):
    headers = {"Origin": f"http://127.0.0.1:{web.port}", "Sec-Fetch-Site": "same-origin"}
    assert Stream(web.port, "tasks", admin_session, headers=headers).status == 200


def test_an_unknown_host_name_is_refused(web, admin_session):
    assert Stream(web.port, "tasks", admin_session, headers={"Host": "rebound.example"}).status == 400


def test_only_get_opens_a_stream(web, admin_session):
    assert Stream(web.port, "tasks", admin_session, method="POST").status == 405


@pytest.mark.parametrize("after", ["x", "-1", "9" * 40, "%00"])
def test_a_position_that_is_no_number_is_refused(web, admin_session, after):
    assert Stream(web.port, "tasks", admin_session, after=after).status == 400


def test_headers_keep_proxies_from_holding_the_stream_back(web, admin_session):
    headers = Stream(web.port, "tasks", admin_session).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert headers["x-content-type-options"] == "nosniff"


def test_a_part_that_cannot_be_drawn_does_not_stop_the_others(web, admin_session):
    broken, task = make_task(), make_task()
    stream = Stream(web.port, f"tasks,task:{broken.pk}", admin_session).wait_until_served()
    Task.objects.filter(pk=broken.pk).update(state="nonsense")  # its header asks for the word of the state
    tell(broken)
    last = tell(task)
    assert one_frame(stream).id == str(last)


def test_the_feed_rests_when_nobody_listens(web, admin_session):
    stream = Stream(web.port, "tasks", admin_session).wait_until_served()
    stream.close()
    wait_until(lambda: web.application.hub.is_resting, what="rest of the feed")
    task = make_task()
    again = Stream(web.port, "tasks", admin_session).wait_until_served()
    tell(task)
    assert one_frame(again).event == "fragment"


def test_a_role_that_is_taken_away_ends_the_events(quick_web):
    task = make_task()
    user = make_user(Role.VIEWER, source=task.source)
    stream = Stream(quick_web.port, "tasks", sign_in(user)).wait_until_served()
    Grant.objects.filter(user=user).delete()
    stream.read_until(lambda s: s.frames)
    tell(task)
    stream.read_for(0.6)
    assert [frame.event for frame in stream.frames] == ["reload"]


def test_a_role_that_is_given_makes_the_page_ask_again(quick_web):
    task = make_task()
    user = make_user(Role.VIEWER, source=make_source())
    stream = Stream(quick_web.port, "tasks", sign_in(user)).wait_until_served()
    Grant.objects.create(user=user, source=task.source, role=Role.VIEWER)
    stream.read_until(lambda s: s.frames)
    tell(task)
    stream.read_until(lambda s: len(s.frames) == 2)
    assert [frame.event for frame in stream.frames] == ["reload", "fragment"]


def test_signing_out_ends_the_stream(quick_web, client):
    client.force_login(make_superuser())
    stream = Stream(quick_web.port, "tasks", client.cookies["sessionid"].value).wait_until_served()
    client.logout()
    stream.read_until(lambda s: s.is_over)
    assert [frame.event for frame in stream.frames] == ["reload"]


def test_a_person_made_inactive_loses_the_stream(quick_web):
    user = make_user(Role.VIEWER)
    stream = Stream(quick_web.port, "tasks", sign_in(user)).wait_until_served()
    user.is_active = False
    user.save()
    stream.read_until(lambda s: s.is_over)
    assert [frame.event for frame in stream.frames] == ["reload"]
