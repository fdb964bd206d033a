"""Who is let in: tokens as Bearer and Basic, sessions with CSRF; refusals are JSON, counted and audited."""

from base64 import b64encode
from datetime import timedelta

import pytest
from django.test import Client, RequestFactory
from django.utils.timezone import now

from tasks_app.models import ApiToken, AuditEntry
from tasks_app.services.api_tokens import REFUSALS_PER_MINUTE, person_of
from tests.factories import make_superuser, make_task, make_user
from tests.unit.api.conftest import Caller, error_of

pytestmark = pytest.mark.django_db


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def get(authorization: str | None = None, **options):
    headers = {} if authorization is None else {"authorization": authorization}
    return Client().get("/api/v1/tasks", headers=headers, **options)


def test_nobody_is_401_as_json_with_a_challenge():
    answer = get()
    assert error_of(answer) == (401, "NOT_AUTHENTICATED")
    assert answer["WWW-Authenticate"] == 'Bearer realm="Task portal"'
    assert answer["Cache-Control"] == "no-store"


@pytest.fixture
def caller() -> Caller:
    return Caller(make_superuser())


def test_bearer_and_basic(caller):
    assert get(f"Bearer {caller.token}").status_code == 200
    assert get(f"bearer  {caller.token} ").status_code == 200
    assert get(basic("anybody", caller.token)).status_code == 200
    assert get(basic("", caller.token)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer x", "Basic", "Basic !!!", "Basic YWJj", "Bearer " + "x" * 10_000, "Bearer tp_\ud83d"],
    ids=["bare", "wrong", "bare basic", "no base64", "no colon", "long", "surrogate"],
)
def test_what_is_no_token_is_401(authorization):
    answer = Client().get("/api/v1/tasks", HTTP_AUTHORIZATION=authorization)
    assert error_of(answer) == (401, "NOT_AUTHENTICATED")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revoked_at": now()}, "revoked"),
        ({"expires_at": now() - timedelta(seconds=1)}, "expired"),
    ],
    ids=["revoked", "expired"],
)
def test_token_that_counts_no_more(caller, change, reason):
    ApiToken.objects.update(**change)
    assert error_of(caller.get("/tasks"))[0] == 401
    entry = AuditEntry.objects.get(action="token.refused")
    assert (entry.result, entry.data["reason"]) == ("refused", reason)
    assert entry.data["person"] == caller.user.username


def test_tokens_of_the_inactive_are_dead(caller):
    caller.user.is_active = False
    caller.user.save()
    assert caller.get("/tasks").status_code == 401


def test_use_is_noted_at_most_once_a_minute(caller, django_assert_num_queries):
    caller.get("/tasks")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    caller.get("/tasks")
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=now() - timedelta(seconds=61))
    caller.get("/tasks")
    assert now() - ApiToken.objects.get().last_used_at < timedelta(seconds=10)


def test_wrong_tokens_are_audited_once_and_then_held_back(caller):
    answers = [get("Bearer my-password") for _ in range(REFUSALS_PER_MINUTE + 2)]
    assert [answer.status_code for answer in answers] == [401] * REFUSALS_PER_MINUTE + [429] * 2
    assert error_of(answers[-1])[1] == "TOO_MANY_REQUESTS"
    assert answers[-1]["Retry-After"] == "60"
    entry = AuditEntry.objects.get(action="token.refused")
    assert entry.ip == "127.0.0.1"
    assert "my-password" not in str(vars(entry))
    assert caller.get("/tasks").status_code == 200  # the right one is not held back
    assert get("Bearer x", REMOTE_ADDR="192.0.2.7").status_code == 401


def test_audit_of_wrong_tokens_is_bounded(monkeypatch):
    monkeypatch.setattr("tasks_app.services.api_tokens.AUDITED_PER_HOUR", 3)
    for number in range(6):
        get("Bearer x", REMOTE_ADDR=f"192.0.2.{number}")
    assert AuditEntry.objects.filter(action="token.refused").count() == 3


# sessions


def session(user, **options) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def test_session_reads(caller):
    assert session(caller.user).get("/api/v1/tasks").status_code == 200


def test_session_needs_csrf_to_change_something(caller):
    task = make_task()
    client = session(caller.user, enforce_csrf_checks=True)
    address = f"/api/v1/tasks/{task.api_id}"
    assert error_of(client.delete(address)) == (403, "CSRF_FAILED")
    task.refresh_from_db()
    assert task.cancel_requested_at is None
    client.get("/profile/")
    token = client.cookies["csrftoken"].value
    assert client.delete(address, headers={"x-csrftoken": token}).status_code == 200


def test_token_needs_no_csrf(caller):
    client = Client(enforce_csrf_checks=True, headers={"authorization": f"Bearer {caller.token}"})
    assert client.delete(f"/api/v1/tasks/{make_task().api_id}").status_code == 200


def test_wrong_token_is_not_made_good_by_a_session(caller):
    answer = session(caller.user).get("/api/v1/tasks", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_deed_is_audited_with_its_person_and_request(caller):
    answer = caller.delete(f"/tasks/{make_task().api_id}")
    entry = AuditEntry.objects.get(action="task.cancel")
    assert (entry.actor_id, entry.request_id) == (caller.user.pk, answer["X-Request-Id"])


# who asks, for pages outside the API


def test_person_of_a_request(caller, rf: RequestFactory):
    request = rf.get("/", headers={"authorization": f"Bearer {caller.token}"})
    request.user = make_user()
    assert person_of(request) == caller.user
    request = rf.get("/", headers={"authorization": "Bearer wrong"})
    request.user = caller.user
    assert person_of(request) is None
    request = rf.get("/")
    request.user = caller.user
    assert person_of(request) == caller.user
    request.user.is_active = False
    assert person_of(request) is None


# everything below /api/ answers JSON


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/v1/nothing", 404, "NOT_FOUND"),
        ("get", "/api/", 404, "NOT_FOUND"),
        ("put", "/api/v1/tasks", 405, "METHOD_NOT_ALLOWED"),
        ("get", "/api/v1/clones", 405, "METHOD_NOT_ALLOWED"),
    ],
    ids=["unknown", "root", "put", "get of post"],
)
def test_other_refusals_are_json_too(caller, method, path, status, code):
    answer = getattr(caller.client, method)(path)
    assert error_of(answer) == (status, code)
    if status == 405:
        assert answer["Allow"]


def test_a_fault_of_ours_is_json_without_its_words(caller, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr("tasks_app.api.tasks.read_page", fail)
    caller.client.raise_request_exception = False
    answer = caller.get("/tasks")
    assert error_of(answer) == (500, "SERVER_ERROR")
    assert "secret" not in answer.text


def test_pages_still_answer_with_pages(caller):
    answer = session(caller.user).get("/nothing")
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
