"""Anchors stand outside the database and survive whatever happens in it."""

import json

import pytest
import responses

from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import read_anchors, write_anchor
from tasks_app.audit.recorder import record
from tasks_app.models import AuditMark

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def anchor_file(settings, tmp_path):
    settings.AUDIT_ANCHOR_FILE = tmp_path / "safe" / "anchors.jsonl"
    settings.AUDIT_ANCHOR_URL = ""
    return settings.AUDIT_ANCHOR_FILE


def test_nothing_is_anchored_before_the_first_entry(anchor_file):
    assert write_anchor() is None
    assert not anchor_file.exists()


def test_each_new_end_is_anchored_once(anchor_file):
    first = record(Action.LOGIN, actor=None)
    assert write_anchor() == 1
    assert write_anchor() is None
    record(Action.LOGIN, actor=None)
    third = record(Action.LOGIN, actor=None)
    assert write_anchor() == 3
    assert read_anchors() == {1: first.hash, 3: third.hash}
    assert len(anchor_file.read_text().splitlines()) == 2


def test_what_cannot_be_written_is_said_and_tried_again(settings, anchor_file):
    record(Action.LOGIN, actor=None)
    anchor_file.parent.write_text("in the way")
    assert write_anchor() is None
    assert "could not be written" in AuditMark.objects.get(name="anchored").problem
    anchor_file.parent.unlink()
    assert write_anchor() == 1
    assert AuditMark.objects.get(name="anchored").problem == ""


@pytest.mark.parametrize("line", ["{", "[]", '{"number": 1}', '{"number": "x", "hash": "a"}'])
def test_a_broken_anchor_file_is_named(anchor_file, line):
    anchor_file.parent.mkdir()
    anchor_file.write_text(line + "\n")
    with pytest.raises(ValueError, match="Line 1 of"):
        read_anchors()


def test_contradicting_anchors_are_named(anchor_file):
    anchor_file.parent.mkdir()
    anchor_file.write_text('{"number": 1, "hash": "a"}\n{"number": 1, "hash": "b"}\n')
    with pytest.raises(ValueError, match=r"Line 2 .* contradicts"):
        read_anchors()


@responses.activate
def test_an_anchor_is_sent_until_it_is_taken(settings):
    settings.AUDIT_ANCHOR_URL = "https://notary.example/anchors?of=portal"
    entry = record(Action.LOGIN, actor=None)
    responses.post("https://notary.example/anchors", status=503)
    write_anchor()
    assert "503" in AuditMark.objects.get(name="anchor_sent").problem
    responses.reset()
    sent = responses.post("https://notary.example/anchors", status=204)
    write_anchor()
    assert AuditMark.objects.get(name="anchor_sent").number == 1
    body = json.loads(sent.calls[0].request.body)
    assert (body["number"], body["hash"]) == (1, entry.hash)
    assert sent.calls[0].request.url.endswith("?of=portal")
