"""Why generation tasks fail: kinds, how they are recognised, and what people are told."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Stable words for tables, filters and tests."""

    CONTENT_POLICY = "content_policy"
    RATE_LIMITED = "rate_limited"
    NO_CREDIT = "no_credit"
    INVALID_REQUEST = "invalid_request"
    CREDENTIALS = "credentials"
    LOST = "lost"
    ALREADY_FINISHED = "already_finished"
    PROVIDER = "provider"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    OUTCOME_UNKNOWN = "outcome_unknown"


@dataclass(frozen=True, slots=True)
class Words:
    """`title` says what happened, `advice` what a person can do now."""

    title: str
    advice: str


WORDS: dict[Kind, Words] = {
    Kind.CONTENT_POLICY: Words(
        "The provider's content rules refused it", "Change the prompt or the picture, then try again."
    ),
    Kind.RATE_LIMITED: Words(
        "The provider was asked too often", "Try again in a few minutes; the portal waits between questions."
    ),
    Kind.NO_CREDIT: Words("The account has no credit left", "Top up the provider's account, then try again."),
    Kind.INVALID_REQUEST: Words(
        "The provider did not accept the input", "Correct what it names, then try again."
    ),
    Kind.CREDENTIALS: Words("The provider refused the portal's key", "An admin must enter a valid key."),
    Kind.LOST: Words(
        "The provider no longer knows this task", "It expired there, or the server was restarted."
    ),
    Kind.ALREADY_FINISHED: Words("It had finished already", "Look at its result."),
    Kind.PROVIDER: Words(
        "It failed at the provider", "Try again; if it fails again, tell the provider's message."
    ),
    Kind.TIMED_OUT: Words("It took too long", "Try again, perhaps shorter or smaller."),
    Kind.UNREACHABLE: Words("The provider could not be reached", "Try again when the source answers."),
    Kind.OUTCOME_UNKNOWN: Words(
        "Nobody knows whether the provider took it",
        "Look at the provider before you send it again: it may have been made, and paid for.",
    ),
}


def _status(number: int) -> str:
    """A status as messages name it; the bare number may be a seed, a size or an id."""
    return rf"^{number}\b|\b(?:http|status|code|error)(?:[ _]code)?\W{{0,3}}{number}\b"


# Codes first, messages last, case-insensitively; the first that fits wins.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    (
        Kind.CONTENT_POLICY,
        r"content[_ -]?polic|policy[_ -]?violation|violat\w* (?:\w+ )?polic|moderat(?:ion|ed|or)"
        r"|(?<!case-)(?<!case )sensitive|nsfw|audio_filtered"
        r"|prominent_people|copyright|\bsafety\b|content_filter",
    ),
    (
        Kind.NO_CREDIT,
        r"insufficient[_ ](?:quota|credits?|funds|balance)|no credit|out of credit|payment required|"
        + _status(402),
    ),
    (Kind.RATE_LIMITED, r"rate[_ -]?limit|too many requests|throttl|queue_full|" + _status(429)),
    (
        Kind.CREDENTIALS,
        r"unauthori[sz]ed|invalid[_ ]api[_ ]key|authentication|\bkey (?:has )?expired|" + _status(401),
    ),
    (Kind.TIMED_OUT, r"timed?[_ -]?out|deadline|\bexpired\b|\baborted\b"),
    (
        Kind.INVALID_REQUEST,
        r"validation[_ ]error|invalid_request|invalid[_ ](?:input|value|prompt|parameter)|node_errors|bad request"
        r"|prompt_outputs_failed_validation|unprocessable",
    ),
)


def classify(code: str = "", message: str = "", *, status: int | None = None) -> Kind:
    """The kind of a failure from the remote's code, message and HTTP status (of the task or of the request)."""
    for text in (code, message):
        for kind, pattern in _PATTERNS:
            if text and re.search(pattern, text, re.IGNORECASE):
                return kind
    by_status = {
        402: Kind.NO_CREDIT,
        429: Kind.RATE_LIMITED,
        401: Kind.CREDENTIALS,
        403: Kind.CREDENTIALS,
        404: Kind.LOST,
        410: Kind.LOST,
        400: Kind.INVALID_REQUEST,
        422: Kind.INVALID_REQUEST,
    }
    return by_status.get(status or 0, Kind.PROVIDER)


# The same order would be refused again, whatever a wrapper around the provider says.
_HOPELESS = frozenset({Kind.CONTENT_POLICY, Kind.NO_CREDIT, Kind.INVALID_REQUEST, Kind.CREDENTIALS})


def is_retryable(kind: Kind, said: object = None) -> bool | None:
    """Whether the same order may go well the next time; `said` is the remote's own word, None when it has none."""
    if kind in _HOPELESS:
        return False
    return said if isinstance(said, bool) else None
