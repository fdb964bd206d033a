"""Every refusal that was recorded becomes the right kind of error."""

import json

import pytest

from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.http import Answer
from tasks_app.sources.proxmox.answers import parse_envelope
from tests.unit.sources.recorded import FOLDER, load_answer, make_answer


def failure_of(answer: Answer, *, is_read: bool = True) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse_envelope(answer, is_read=is_read)
    return caught.value


@pytest.mark.parametrize(
    ("number", "branch", "kind"),
    [
        (14, SourceNeedsPerson, "unauthorized"),
        (24, SourceNeedsPerson, "unauthorized"),
        (32, SourceRefused, "forbidden"),
        (36, SourceRefused, "forbidden"),
        (47, SourceRefused, "invalid"),
        (50, SourceRefused, "not_implemented"),
        (55, SourceRefused, "remote_error"),
        (58, SourceRefused, "invalid"),
        (66, SourceRefused, "not_implemented"),
        (69, SourceRefused, "remote_error"),
        (128, SourceRefused, "locked"),
        (179, SourceRefused, "not_found"),
        (180, SourceRefused, "invalid"),
        (185, SourceRefused, "not_found"),
        (404, SourceUnavailable, "proxy"),
        (409, SourceUnavailable, "proxy"),
        (542, SourceRefused, "remote_error"),
        (584, SourceRefused, "locked"),
        (655, SourceRefused, "remote_error"),
        (725, SourceRefused, "remote_error"),
        (857, SourceRefused, "remote_error"),
        (966, SourceRefused, "remote_error"),
    ],
)
def test_recorded_refusal_has_its_branch_and_kind(number, branch, kind):
    error = failure_of(load_answer(number))
    assert (type(error), error.kind) == (branch, kind)


def test_every_recorded_500_with_a_sentence_is_a_refusal_with_that_sentence():
    answers = [load_answer(int(path.name[:3])) for path in sorted(FOLDER.glob("[0-9]*.json"))]
    sentences = [answer for answer in answers if answer.status == 500]
    assert len(sentences) > 15
    for answer in sentences:
        error = failure_of(answer, is_read=False)
        assert isinstance(error, SourceRefused)
        assert str(error) == " ".join(json.loads(answer.body)["message"].split())


def test_forbidden_names_privilege_and_path():
    error = failure_of(load_answer(33))
    assert isinstance(error, SourceRefused)
    assert (error.privilege, error.path) == ("VM.Clone", "/vms/100")


def test_forbidden_with_alternatives_keeps_them_all():
    error = failure_of(load_answer(693))
    assert isinstance(error, SourceRefused)
    assert error.privilege == "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted"


def test_bare_forbidden_names_nothing():
    error = failure_of(load_answer(521))
    assert isinstance(error, SourceRefused)
    assert (str(error), error.privilege, error.path) == ("Permission check failed", "", "")


def test_a_uri_in_a_forbidden_sentence_is_not_taken_for_a_path():
    error = failure_of(load_answer(36))
    assert isinstance(error, SourceRefused)
    assert (error.privilege, error.path) == ("", "")


def test_parameter_errors_are_kept_by_field():
    error = failure_of(load_answer(47))
    assert isinstance(error, SourceRefused)
    assert error.fields == {"vmid": "VM 100 already exists"}
    assert "vmid: VM 100 already exists" in str(error)


def test_sentence_comes_from_the_reason_phrase_when_the_body_has_none():
    error = failure_of(make_answer(500, '{"data":null}', reason="VM is locked (backup)"))
    assert (type(error), error.kind, str(error)) == (SourceRefused, "locked", "VM is locked (backup)")


def test_401_with_clocks_apart_is_about_clocks():
    error = failure_of(load_answer(24, skew=-7200))
    assert error.kind == "clock_skew"
    assert "7200 s" in str(error)


@pytest.mark.parametrize(
    "sentence",
    [
        "ipcc_send_rec[1] failed: Connection refused",
        "unable to open file '/etc/pve/x.tmp' - Input/output error",
        "got timeout",
    ],
)
def test_a_server_that_is_unwell_is_asked_again(sentence):
    error = failure_of(make_answer(500, json.dumps({"data": None, "message": sentence + "\n"})))
    assert (type(error), error.kind) == (SourceUnavailable, "server_error")


def test_without_quorum_nothing_was_changed():
    answer = make_answer(500, '{"data":null,"message":"cluster not ready - no quorum?\\n"}')
    assert type(failure_of(answer, is_read=False)) is SourceUnavailable


def test_a_write_to_a_server_that_is_unwell_is_unknown():
    answer = make_answer(500, '{"data":null,"message":"ipcc_send_rec[1] failed: Connection refused\\n"}')
    assert type(failure_of(answer, is_read=False)) is OutcomeUnknown


@pytest.mark.parametrize("status", [596, 597, 599])
def test_a_write_that_the_proxy_lost_after_sending_is_unknown(status):
    error = failure_of(make_answer(status, reason="Connection timed out"), is_read=False)
    assert (type(error), error.kind) == (OutcomeUnknown, "proxy")


def test_a_write_that_the_proxy_could_not_connect_was_not_carried_out():
    assert type(failure_of(load_answer(406), is_read=False)) is SourceUnavailable


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_broken_gateway_is_unavailable_for_reads_and_unknown_for_writes(status):
    answer = make_answer(status, "<html>Bad Gateway</html>", headers={"server": "nginx"})
    assert type(failure_of(answer)) is SourceUnavailable
    assert type(failure_of(answer, is_read=False)) is OutcomeUnknown


def test_503_of_a_gateway_was_never_carried_out():
    assert type(failure_of(make_answer(503, "<html>"), is_read=False)) is SourceUnavailable


def test_429_tells_when_to_come_back():
    error = failure_of(make_answer(429, headers={"retry-after": "17"}))
    assert (error.kind, error.retry_after) == ("rate_limited", 17.0)


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_page_is_not_a_proxmox(status):
    error = failure_of(make_answer(status, "<html>Welcome</html>", headers={"server": "nginx"}))
    assert (type(error), error.kind) == (SourceNeedsPerson, "not_proxmox")


@pytest.mark.parametrize(
    "body",
    ["", "{", '{"data":', "[" * 100_000, '{"data":' + "9" * 10_000 + "}", b"\xff\xfe"],
    ids=["empty", "brace", "cut", "deep", "huge number", "no text"],
)
def test_garbage_of_a_proxmox_is_asked_again(body):
    error = failure_of(make_answer(200, body, headers={"server": "pve-api-daemon/3.0"}))
    assert (type(error), error.kind) == (SourceUnavailable, "garbage")


def test_garbage_after_a_write_is_unknown():
    answer = make_answer(200, "{", headers={"server": "pve-api-daemon/3.0"})
    assert type(failure_of(answer, is_read=False)) is OutcomeUnknown


def test_half_of_a_surrogate_pair_does_not_survive_to_the_database():
    envelope = parse_envelope(
        make_answer(200, '{"data":[{"t":"a\\ud800b","u":"\\ud83d\\ude00"}]}'), is_read=True
    )
    assert envelope["data"] == [{"t": "a?b", "u": "😀"}]


def test_a_hostile_message_is_one_line_of_bounded_length():
    error = failure_of(make_answer(500, json.dumps({"data": None, "message": "a\n\x1b[31m\0" + "x" * 9999})))
    assert len(str(error)) == 1000
    assert str(error).startswith("a [31m xxx")
