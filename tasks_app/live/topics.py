"""What a page can listen to, and how it says so."""

TASKS = "tasks"
DASHBOARD = "dashboard"
SOURCES = "sources"
_PLAIN = frozenset({TASKS, DASHBOARD, SOURCES})
_TASK_PREFIX = "task:"
_OBJECT_PREFIX = "object:"  # not for pages: what sockets follow
MAX_TOPICS = 20  # a page needs two or three
_MAX_DIGITS = 18  # what fits a 64-bit key


class UnknownTopic(ValueError):
    """The text names something that nobody can listen to. `str(error)` is fit for the person who asked."""


def task_topic(task_id: int) -> str:
    return f"{_TASK_PREFIX}{task_id}"


def object_topic(task_id: int) -> str:
    """Says that a task's row has changed, without drawing anything."""
    return f"{_OBJECT_PREFIX}{task_id}"


def looked_at(topic: str) -> int | None:
    """The task that somebody looks at who listens to this: on its page or by a socket."""
    prefix, _, pk = topic.partition(":")
    return int(pk) if f"{prefix}:" in (_TASK_PREFIX, _OBJECT_PREFIX) else None


def task_of(topic: str) -> int | None:
    """The key in `task:<key>`; None for the other topics."""
    return int(topic.removeprefix(_TASK_PREFIX)) if topic.startswith(_TASK_PREFIX) else None


def parse_topics(text: str) -> frozenset[str]:
    """`tasks,task:12` as a set. Raises UnknownTopic on anything else, on none, and on more than MAX_TOPICS."""
    topics = frozenset(item.strip() for item in text.split(",") if item.strip())
    if not topics:
        raise UnknownTopic("Name at least one topic.")
    if len(topics) > MAX_TOPICS:
        raise UnknownTopic(f"At most {MAX_TOPICS} topics.")
    for topic in topics:
        digits = topic.removeprefix(_TASK_PREFIX)
        is_task = topic.startswith(_TASK_PREFIX) and digits.isascii() and digits.isdigit()
        if topic not in _PLAIN and not (is_task and len(digits) <= _MAX_DIGITS and digits[0] != "0"):
            raise UnknownTopic(f"There is no topic {topic[:40]!r}.")
    return topics
