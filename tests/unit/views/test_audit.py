"""The audit trail's page: who reads what, filters and paging, an entry opened, integrity, purging, one request."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from django_q.models import OrmQ

from tasks_app.audit import filters as audit_filters
from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import write_anchor
from tasks_app.audit.context import Origin, set_origin
from tasks_app.models import AuditEntry, AuditMark, Role, Submission, triggers
from tasks_app.services import audit_pages, audit_trail
from tasks_app.templatetags.audit_parts import deed_words
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db
NO_ENTRY = "No entry"


@pytest.fixture(autouse=True)
def _origin(settings: Any, tmp_path: Path) -> Any:
    settings.AUDIT_ANCHOR_FILE = tmp_path / "anchors.jsonl"
    yield
    set_origin(Origin())


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def numbers(answer: Any) -> list[int]:
    """Of the entries in the order they stand."""
    return [int(number) for number in re.findall(r'id="entry-(\d+)"', answer.text)]


def older(answer: Any) -> str:
    found = re.search(r'href="(\?[^"]*)" rel="next"', answer.text)
    return found[1].replace("&amp;", "&") if found else ""


def note(count: int = 1, *, actor: User, action: Action = Action.LOGOUT, **fields: Any) -> list[AuditEntry]:
    return [recorder.record(action, actor=actor, **fields) for _ in range(count)]


# ---- who reads what


def test_nobody_signed_in_is_led_to_the_sign_in(client: Client) -> None:
    for address in ("/audit/", "/audit/purge", "/audit/requests/abc/"):
        assert client.get(address)["Location"].startswith("/account/login/")


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.OPERATOR])
def test_who_may_not_read_the_trail_is_refused(role: Role | None) -> None:
    client = signed_in(make_user(role))
    assert client.get("/audit/").status_code == 403
    assert client.post("/audit/verify").status_code == 403
    assert "/audit/" not in client.get("/").text


def test_auditor_of_one_source_reads_its_entries_only() -> None:
    mine, other, admin = make_source(name="mine"), make_source(name="other"), make_superuser()
    (seen,) = note(actor=admin, action=Action.SOURCE_PAUSE, target=mine)
    note(actor=admin, action=Action.SOURCE_PAUSE, target=other)
    note(actor=admin)
    answer = signed_in(make_user(Role.AUDITOR, source=mine)).get("/audit/")
    assert numbers(answer) == [seen.number]
    everything = signed_in(make_user(Role.AUDITOR)).get("/audit/")
    assert len(numbers(everything)) == AuditEntry.objects.count()


# ---- filters and pages


def test_filters_of_the_address_choose_the_entries() -> None:
    anna, bob = make_superuser(username="anna"), make_superuser(username="bob")
    source = make_source(name="prod")
    task = make_task(source, object_name="web-07")
    note(3, actor=bob)
    set_origin(Origin(request_id="req-1", ip="10.1.2.3", user_agent="zebra browser"))
    (wanted,) = note(
        actor=anna, action=Action.TASK_CANCEL, target=task, result=AuditEntry.Result.REFUSED, reason="stripes"
    )
    set_origin(Origin())
    client = signed_in(make_superuser())
    for query in (
        "actor=anna", "action=task.cancel", "result=refused", "source=prod", f"target=task:{task.pk}",
        "target=web-07", "request=req-1", "q=zebra", "q=stripes", "q=10.1.2.3",
        "actor=anna&action=task.cancel&since=24h", f"q=web-07&source=prod&target=task:{task.pk}",
    ):  # fmt: skip
        assert numbers(client.get(f"/audit/?{query}")) == [wanted.number], query
    assert NO_ENTRY in client.get("/audit/?actor=carol").text
    wrong = client.get("/audit/?action=zebra&result=x&since=never&below=x")
    assert len(numbers(wrong)) == AuditEntry.objects.count()


@pytest.mark.parametrize("query", ["", "actor=anna", "result=done", "q=anna"])
def test_older_pages_lose_nothing_and_keep_the_filters(query: str) -> None:
    anna, bob = make_superuser(username="anna"), make_superuser(username="bob")
    for _ in range(60):
        note(actor=anna)
        note(actor=bob, result=AuditEntry.Result.FAILED)
    wanted = AuditEntry.objects.filter(actor_name="anna") if query else AuditEntry.objects.all()
    reader = make_superuser(username="reader")
    client = signed_in(reader)
    client.get("/audit/")
    expected = list(wanted.order_by("-number").values_list("number", flat=True))
    if query == "result=done":
        expected = list(
            AuditEntry.objects.filter(result="done").order_by("-number").values_list("number", flat=True)
        )
    address, seen = f"/audit/?{query}", []
    for _ in range(5):
        answer = client.get(address)
        seen += numbers(answer)
        if not older(answer):
            break
        address = f"/audit/{older(answer)}"
    assert seen == expected


def test_a_search_that_ends_early_says_how_far_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_filters, "WINDOW", 10)
    monkeypatch.setattr(audit_pages, "MOST_LOOKS", 2)
    admin = make_superuser()
    (rare,) = note(actor=admin, reason="zebra")
    note(35, actor=admin)
    client = signed_in(admin)
    first = client.get("/audit/?q=zebra")
    assert numbers(first) == []
    assert "Looked back to" in first.text and "found nothing" in first.text and NO_ENTRY not in first.text
    second = client.get(f"/audit/{older(first)}")
    assert numbers(second) == [rare.number]


def test_queries_do_not_grow_with_the_entries() -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/audit/").status_code == 200
        return len(queries)

    admin = make_superuser()
    client = signed_in(admin)
    note(actor=admin, action=Action.TASK_CANCEL, target=make_task())
    client.get("/audit/")
    before = count()
    for _ in range(60):
        note(actor=admin, action=Action.TASK_CANCEL, target=make_task())
    assert count() == before <= 12


# ---- an entry


def test_entry_tells_what_changed_from_where_and_leads_on() -> None:
    admin, source = make_superuser(username="anna"), make_source(name="prod")
    task = make_task(source)
    set_origin(Origin(request_id="req-7", ip="10.1.2.3", user_agent="zebra browser"))
    note(
        actor=admin, action=Action.SOURCE_CHANGE, target=source,
        before={"name": "prod", "urls": ["https://a"]}, after={"name": "prod-1", "urls": []},
    )  # fmt: skip
    note(actor=admin, action=Action.TASK_CANCEL, target=task, upid=task.remote_id)
    set_origin(Origin())
    text = signed_in(admin).get("/audit/").text
    assert "<del>− prod</del>" in text and "<ins>+ prod-1</ins>" in text
    assert "<ins>+ nothing</ins>" in text
    assert "10.1.2.3" in text and "zebra browser" in text
    assert 'href="/audit/requests/req-7/"' in text
    assert f'href="/sources/{source.pk}/"' in text and f'href="/tasks/{task.pk}/"' in text
    assert f"/history/?q={task.remote_id.replace(':', '%3A')}" in text.replace("@", "%40").replace("%40", "@")


def test_a_upid_that_is_searched_leads_to_its_task() -> None:
    task = make_task(object_name="web-07")
    text = signed_in(make_superuser()).get("/audit/", {"q": task.remote_id}).text
    assert "This names a task" in text and f'href="/tasks/{task.pk}/"' in text


def test_object_that_is_gone_or_not_for_the_reader_is_named_without_a_link() -> None:
    admin, mine = make_superuser(), make_source(name="mine")
    gone = make_task(mine, object_name="old")
    note(actor=admin, action=Action.TASK_CANCEL, target=gone)
    note(actor=admin, action=Action.PERSON_CHANGE, target=admin, source=mine)
    pk = gone.pk
    gone.delete()
    text = signed_in(make_user(Role.AUDITOR, source=mine)).get("/audit/").text
    assert f"/tasks/{pk}/" not in text and "/people/" not in text
    assert text.count("not there, or not for you") == 2


def test_what_strangers_have_made_up_stays_text() -> None:
    admin = make_superuser()
    set_origin(Origin(user_agent="<script>alert(1)</script>", request_id="../a/<b>"))
    note(
        actor=admin,
        target_name="<b>x</b>\x1b[31m",
        before={"<i>": "<u>"},
        after=["<s>"],
        nested={"a": [{"b": "<q>"}]},
    )
    note(actor=admin, upid=None, remote_id=["UPID:x"], before=None, after=0)
    set_origin(Origin())
    answer = signed_in(admin).get("/audit/")
    for tag in ("<script>alert", "<b>x", "<i>", "<u>", "<s>", "<q>", "\x1b"):
        assert tag not in answer.text.replace("<script src", ""), tag


def test_every_deed_has_words() -> None:
    without = [action.value for action in Action if deed_words(action.value) == action.value]
    assert without == []
    assert deed_words("of.a.later.version") == "of.a.later.version"


# ---- integrity


def test_page_says_how_far_the_trail_is_verified_and_anchored() -> None:
    admin = make_superuser()
    client = signed_in(admin)
    assert "Not verified yet" in client.get("/audit/").text
    write_anchor()
    answer = client.post("/audit/verify", follow=True)
    verified = AuditMark.objects.get(name="verified").number
    assert f"Verified up to #{verified}" in answer.text
    assert f"Anchored up to #{AuditMark.objects.get(name='anchored').number}" in answer.text
    entry = AuditEntry.objects.get(action="audit.verify")
    assert entry.actor_name == admin.username


def test_tampered_trail_is_told_in_plain_words_with_the_first_bad_number() -> None:
    admin = make_superuser()
    entries = note(5, actor=admin)
    triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tasks_app_auditentry SET actor_name = 'mallory' WHERE number = %s", [entries[2].number]
        )
    triggers.install(connection)
    client = signed_in(admin)
    client.post("/audit/verify")
    text = client.get("/audit/").text
    assert f"#{entries[2].number} was changed." in text
    assert 'role="alert"' in text and "Broken" in text and "What to do" in text


def test_long_trail_is_verified_by_a_job(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(audit_trail, "AT_ONCE", -1)
    with django_capture_on_commit_callbacks(execute=True):
        answer = signed_in(make_user(Role.AUDITOR)).post("/audit/verify", follow=True)
    assert "it is being verified" in answer.text
    assert [message.func() for message in OrmQ.objects.all()] == ["tasks_app.jobs.verify_audit"]


# ---- purging


def make_old(count: int, *, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "now", lambda: now() - timedelta(days=days))
        note(count, actor=make_superuser())


def test_purge_tells_first_what_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(7, days=500, monkeypatch=monkeypatch)
    admin = make_user(Role.ADMIN, username="anna")
    client = signed_in(admin)
    preview = client.get("/audit/purge?days=365&reason=privacy")
    assert "7 entries" in preview.text
    assert AuditEntry.objects.filter(at__lt=now() - timedelta(days=365)).count() == 7
    unconfirmed = client.post("/audit/purge", {"days": 365})
    assert "7 entries" in unconfirmed.text
    answer = client.post("/audit/purge", {"days": 365, "reason": "privacy", "confirmed": "on"}, follow=True)
    assert "7 entries were removed" in answer.text and "were purged by retention" in answer.text
    assert not AuditEntry.objects.filter(at__lt=now() - timedelta(days=365)).exists()
    purged = AuditEntry.objects.get(action="audit.purge")
    assert (purged.actor_name, purged.data["reason"]) == ("anna", "privacy")
    assert audit_trail.verify_trail().is_intact
    assert "nothing would go" in client.get("/audit/purge?days=365").text


@pytest.mark.parametrize("days", ["29", "-1", "x", "1e9", "999999999"])
def test_purge_of_nonsense_is_refused(days: str) -> None:
    answer = signed_in(make_superuser()).post("/audit/purge", {"days": days, "confirmed": "on"})
    assert answer.status_code == 422
    assert not AuditEntry.objects.filter(action="audit.purge").exists()


def test_only_portal_admins_purge() -> None:
    for person in (make_user(Role.AUDITOR), make_user(Role.ADMIN, source=make_source())):
        client = signed_in(person)
        assert client.get("/audit/purge").status_code == 403
        assert client.post("/audit/purge", {"days": 365, "confirmed": "on"}).status_code == 403
        assert 'href="/audit/purge"' not in client.get("/audit/").text


def test_many_are_purged_by_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(3, days=500, monkeypatch=monkeypatch)
    monkeypatch.setattr(audit_trail, "AT_ONCE", 2)
    admin = make_superuser()
    client = signed_in(admin)
    answer = client.post("/audit/purge", {"days": 365, "reason": "space", "confirmed": "on"}, follow=True)
    assert "they are being removed" in answer.text
    (message,) = OrmQ.objects.all()
    assert message.func() == "tasks_app.jobs.purge_audit"
    audit_trail.purge_by_job(*message.task["args"])
    assert not AuditEntry.objects.filter(at__lt=now() - timedelta(days=365)).exists()


# ---- one request


def test_request_joins_the_click_the_submission_and_the_task() -> None:
    operator, source = make_user(Role.ADMIN), make_source(name="prod")
    upid = "UPID:pve1:00000001:00000001:65000000:qmstart:100:portal@pve!web:"
    submission = Submission.objects.create(
        source=source, action="start", guest_kind="qemu", node="pve1", vmid=100, guest_name="web-01",
        actor=operator, actor_name=operator.username, request_id="req-9", idempotency_key="k1", remote_id=upid,
    )  # fmt: skip
    task = make_task(source, submission=submission, remote_id=upid)
    set_origin(Origin(request_id="req-9"))
    (entry,) = note(actor=operator, action=Action.SUBMIT, target=submission)
    set_origin(Origin())
    text = signed_in(operator).get("/audit/requests/req-9/").text
    assert f'id="entry-{entry.number}"' in text
    assert f'href="/submissions/{submission.pk}/"' in text
    assert f'id="task-{task.pk}"' in text
    assert text.count(upid) >= 2
    assert "/audit/requests/req-9/" in signed_in(operator).get("/audit/").text


def test_request_of_others_is_not_there() -> None:
    source = make_source()
    set_origin(Origin(request_id="req-9"))
    note(actor=make_superuser(), action=Action.SOURCE_PAUSE, target=source)
    set_origin(Origin())
    assert signed_in(make_user(Role.OPERATOR)).get("/audit/requests/req-9/").status_code == 404
    assert signed_in(make_superuser()).get("/audit/requests/nothing/").status_code == 404
    assert signed_in(make_user(Role.AUDITOR, source=source)).get("/audit/requests/req-9/").status_code == 200
