"""Values of a remote are read as what they are, and absurd ones as nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.sources.generation import reading
from tasks_app.sources.generation.base import Upload


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (45, 45.0),
        ("45", 45.0),
        (" 45 % ", 45.0),
        (True, None),
        ("x", None),
        (float("nan"), None),
        (float("inf"), None),
        ([], None),
        (None, None),
        (10**400, None),
    ],
)
def test_a_number_is_finite_and_no_truth_value(value: Any, number: float | None):
    assert reading.number_of(value) == number


@pytest.mark.parametrize(("value", "percent"), [(-3, 0.0), (12158996, 100.0), ("33", 33.0), (None, None)])
def test_progress_stays_between_0_and_100(value: Any, percent: float | None):
    assert reading.percent_of(value) == percent


@pytest.mark.parametrize(("value", "whole"), [(3, 3), (3.0, 3), (3.5, None), (-1, None), (10**12, None)])
def test_a_whole_number_fits_a_column(value: Any, whole: int | None):
    assert reading.whole_of(value) == whole


NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (NOON.timestamp(), NOON),
        (str(int(NOON.timestamp())), NOON),
        ("2026-11-20T12:00:00", NOON),
        ("2026-11-20T13:00:00+01:00", NOON),
        ("2026-11-20T12:00:00Z", NOON),
        (0, None),
        (-28632910, None),
        (1e300, None),
        ("soon", None),
        (None, None),
        ([], None),
    ],
)
def test_a_time_is_aware_and_in_utc(value: Any, moment: datetime | None):
    assert reading.time_of(value) == moment


@pytest.mark.parametrize("value", ["video_1", "a-b.c~d:e", 17])
def test_an_id_that_fits_in_a_path_is_taken(value: Any):
    assert reading.id_of(value) == str(value)


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a?b", "a b", "a\0", "ä", "x" * 201, None, {}, True])
def test_an_id_that_could_lead_elsewhere_is_none(value: Any):
    assert reading.id_of(value) == ""


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://cdn.example/x.mp4", "https://cdn.example/x.mp4"),
        ("/v1/x", "http://own:8000/v1/x"),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("https://user:pw@own/x", ""),
        ("http://[bad", ""),
        (7, ""),
    ],
)
def test_an_address_is_http_and_names_no_user(value: Any, url: str):
    assert reading.url_of(value, "http://own:8000") == url


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("X-Amz-Date=20261120T110000Z&X-Amz-Expires=3600&X-Amz-Signature=s", NOON),
        ("X-Goog-Date=20261120T113000Z&X-Goog-Expires=1800", NOON),
        (f"Expires={int(NOON.timestamp())}&Signature=s", NOON),
        ("X-Amz-Date=20269920T110000Z&X-Amz-Expires=3600", None),
        ("", None),
    ],
)
def test_a_signed_address_tells_when_it_ends(query: str, moment: datetime | None):
    assert reading.expiry_of(f"https://bucket.example/x.mp4?{query}") == moment


def test_a_picture_survives_the_way_into_a_data_url_and_back():
    picture = Upload("a.png", "image/png", b"\x89PNG\0")
    assert reading.from_data_url(reading.as_data_url(picture)) == ("image/png", b"\x89PNG\0")


@pytest.mark.parametrize("value", ["data:image/png;base64,%%%", "data:nothing", "https://x", None])
def test_what_is_no_data_url_is_none(value: Any):
    assert reading.from_data_url(value) is None


def test_json_is_cut_to_a_size_that_fits_beside_a_task():
    deep: Any = "end"
    for _ in range(500):
        deep = {"in": deep}
    small = reading.small_json({"deep": deep, "nan": float("nan"), "many": list(range(99)), "big": 10**30})
    assert small["nan"] is None
    assert len(small["many"]) == 50
    assert small["big"] == str(10**30)
    assert small["deep"] == {"in": {"in": {"in": None}}}


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (4, "4"), ({"a": 1}, '{"a": 1}'), ("a\ud800", "a?")]
)
def test_a_form_field_is_text(value: Any, text: str):
    assert reading.as_form_text(value) == text
