"""Topics as pages name them."""

import pytest

from tasks_app.live.topics import MAX_TOPICS, UnknownTopic, parse_topics, task_of, task_topic


def test_topics_are_named_with_commas():
    assert parse_topics("tasks, task:12,sources") == {"tasks", "task:12", "sources"}


def test_the_task_of_a_topic_is_found_again():
    assert task_of(task_topic(12)) == 12
    assert task_of("tasks") is None


@pytest.mark.parametrize(
    "text", ["", ",", "Tasks", "task:", "task:01", "task:1.5", "task:١٢", "task:-1", "task", "a" * 10_000]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UnknownTopic):
        parse_topics(text)


def test_more_topics_than_a_page_needs_are_refused():
    parse_topics(",".join(task_topic(pk) for pk in range(1, MAX_TOPICS + 1)))
    with pytest.raises(UnknownTopic):
        parse_topics(",".join(task_topic(pk) for pk in range(1, MAX_TOPICS + 2)))


def test_a_refusal_does_not_repeat_what_is_very_long():
    with pytest.raises(UnknownTopic) as error:
        parse_topics("x" * 10_000)
    assert len(str(error.value)) < 100
