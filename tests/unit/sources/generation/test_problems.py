"""Why a task failed is recognised by code first, then by the provider's words."""

import pytest

from tasks_app.sources.generation.problems import WORDS, Kind, classify


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("", "Video generation failed: Content policy violation", None, Kind.CONTENT_POLICY),
        ("content_policy_violation", "", None, Kind.CONTENT_POLICY),
        ("SAFETY.INPUT.TEXT", "", None, Kind.CONTENT_POLICY),
        ("", "Content Moderated", None, Kind.CONTENT_POLICY),
        ("", "The prompt may contain sensitive content", None, Kind.CONTENT_POLICY),
        ("", "The model's name is case-sensitive", None, Kind.PROVIDER),
        ("", "a moderate load", None, Kind.PROVIDER),
        ("", "too many requests", None, Kind.RATE_LIMITED),
        ("", "HTTP 429 from upstream", None, Kind.RATE_LIMITED),
        ("", "429 Client Error", None, Kind.RATE_LIMITED),
        ("", "node 429 ran out of memory", None, Kind.PROVIDER),
        ("", "upstream: status code: 402", None, Kind.NO_CREDIT),
        ("insufficient_quota", "rate limit", None, Kind.NO_CREDIT),
        ("", "Your API key has expired", None, Kind.CREDENTIALS),
        ("aborted", "", None, Kind.TIMED_OUT),
        ("validation_error", "", None, Kind.INVALID_REQUEST),
        ("TypeError", "missing 1 required positional argument: 'message'", None, Kind.PROVIDER),
        ("", "", 402, Kind.NO_CREDIT),
        ("", "", 422, Kind.INVALID_REQUEST),
        ("", "", None, Kind.PROVIDER),
    ],
)
def test_a_failure_has_one_kind(code: str, message: str, status: int | None, kind: Kind):
    assert classify(code, message, status=status) is kind


def test_every_kind_has_words_for_people():
    assert set(WORDS) == set(Kind)
