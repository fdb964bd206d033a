"""OpenAI-style videos: what a list of jobs proves, and what it does not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tests.unit.sources.generation.openai_stage import ASKED_AT, JOB, open_at, order
from tests.unit.sources.generation.replay import Remote, Say, recorded


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


def test_the_vendors_list_is_followed_by_its_cursor(remote: Remote):
    remote.on("GET", "/videos", recorded("prism-openai-videos", 5))
    page = open_at(remote, collection="/videos").list_recent()
    assert [row.remote_id for row in page.observations] == ["string"]
    assert (page.cursor, page.is_whole) == ("string", False)
    assert remote.log[0].query == {"limit": "100", "order": "desc"}


def test_a_cursor_that_leads_in_a_circle_ends(remote: Remote):
    remote.on("GET", "/videos", recorded("prism-openai-videos", 5))
    assert open_at(remote, collection="/videos").list_recent("string").cursor == ""


def test_a_list_that_does_not_tell_whether_there_is_more_is_not_whole(remote: Remote):
    remote.on("GET", "/v1/videos", Say(200, {"data": [JOB]}))
    assert not open_at(remote).list_recent().is_whole


def test_a_completed_row_is_partial_so_that_its_result_is_read(remote: Remote):
    rows = [{**JOB, "status": "completed"}, JOB | {"id": "v2"}]
    remote.on("GET", "/v1/videos", Say(200, {"data": rows, "has_more": False}))
    assert [row.is_partial for row in open_at(remote).list_recent().observations] == [True, False]


def test_a_remote_without_a_list_is_found_out(remote: Remote):
    remote.replay("aimock-openai-videos", 8)
    source = open_at(remote)
    with pytest.raises(SourceRefused) as caught:
        source.list_recent()
    assert caught.value.kind == "not_implemented"
    with pytest.raises(OutcomeUnknown):
        source.find(order(source, prompt="a cat"))


def test_a_list_that_the_settings_rule_out_is_not_asked_for(remote: Remote):
    source = open_at(remote, lists=False)
    assert not source.capabilities.lists
    with pytest.raises(OutcomeUnknown):
        source.find(order(source, prompt="a cat"))
    assert remote.log == []


def listing(*rows: dict[str, Any], has_more: bool | None = False) -> Say:
    more = {} if has_more is None else {"has_more": has_more, "last_id": rows[-1]["id"] if rows else None}
    return Say(200, {"data": list(rows), **more})


def row(job_id: str, *, seconds: float = 5, prompt: str | None = "a cat", **fields: Any) -> dict[str, Any]:
    created_at = int((ASKED_AT + timedelta(seconds=seconds)).timestamp())
    return {"id": job_id, "status": "queued", "prompt": prompt, "created_at": created_at, **fields}


def test_an_order_is_found_by_time_prompt_and_model(remote: Remote):
    rows = row("new", prompt="a dog"), row("ours", model="m"), row("old", seconds=-3600)
    remote.on("GET", "/v1/videos", listing(*rows))
    source = open_at(remote, model="m")
    found = source.find(order(source, prompt="a cat"))
    assert found is not None and found.remote_id == "ours"


def test_a_job_that_is_known_to_be_another_is_passed_over(remote: Remote):
    remote.on("GET", "/v1/videos", listing(row("ours"), row("other")))
    source = open_at(remote)
    found = source.find(order(source, prompt="a cat"), known=["other"])
    assert found is not None and found.remote_id == "ours"


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row("a"), row("b")], id="two fit"),
        pytest.param([row("a", prompt=None)], id="no prompt is told"),
        pytest.param([row("a", model="another")], id="another model's name"),
        pytest.param([row("a", created_at=None)], id="no time is told"),
    ],
)
def test_what_could_be_the_order_proves_nothing(remote: Remote, rows: list[dict[str, Any]]):
    remote.on("GET", "/v1/videos", listing(*rows))
    source = open_at(remote, model="m")
    with pytest.raises(OutcomeUnknown):
        source.find(order(source, prompt="a cat"))


def test_a_whole_list_without_the_order_proves_that_there_is_none(remote: Remote):
    remote.on("GET", "/v1/videos", listing(row("old", seconds=-3600), row("dog", prompt="a dog")))
    source = open_at(remote)
    assert source.find(order(source, prompt="a cat")) is None


def test_older_pages_are_not_read_when_the_list_has_gone_past_the_order(remote: Remote):
    remote.on(
        "GET", "/v1/videos", listing(row("dog", prompt="a dog"), row("old", seconds=-3600), has_more=True)
    )
    source = open_at(remote)
    assert source.find(order(source, prompt="a cat")) is None
    assert len(remote.log) == 1


def test_a_list_in_another_order_is_read_on(remote: Remote):
    first = listing(row("old", seconds=-3600), row("dog", prompt="a dog"), has_more=True)
    remote.on("GET", "/v1/videos", first, listing(row("ours")))
    source = open_at(remote)
    found = source.find(order(source, prompt="a cat"))
    assert found is not None and found.remote_id == "ours"
    assert remote.log[1].query["after"] == "dog"


@pytest.mark.parametrize("has_more", [True, None], ids=["endless", "not told"])
def test_a_list_that_does_not_end_proves_nothing(remote: Remote, has_more: bool | None):
    remote.on("GET", "/v1/videos", listing(row("dog", prompt="a dog"), has_more=has_more))
    source = open_at(remote)
    with pytest.raises(OutcomeUnknown):
        source.find(order(source, prompt="a cat"))
    assert len(remote.log) <= 2


def test_an_order_that_may_still_be_on_its_way_is_not_declared_absent(remote: Remote):
    remote.on("GET", "/v1/videos", listing())
    source = open_at(remote)
    fresh = replace(order(source, prompt="a cat"), asked_at=datetime.now(UTC))
    with pytest.raises(SourceUnavailable) as caught:
        source.find(fresh)
    assert caught.value.kind == "too_early" and 0 < (caught.value.retry_after or 0) <= 60
