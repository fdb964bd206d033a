"""What each person sees, read for many at once."""

import pytest

from tasks_app.access.policy import sources_seen_by
from tasks_app.live.viewers import read_owners_of
from tasks_app.models import Grant, Role, Source
from tests.factories import make_generation, make_source, make_superuser, make_task, make_team, make_user

pytestmark = pytest.mark.django_db


def test_many_see_what_each_of_them_sees_alone():
    first, second = make_source(), make_source()
    everywhere, one, both = make_user(Role.VIEWER), make_user(Role.ADMIN, source=first), make_user()
    for source in (first, second):
        Grant.objects.create(user=both, source=source, role=Role.AUDITOR)
    people = [everywhere, one, both, make_user(), make_superuser()]
    everything = {first.pk, second.pk}
    seen = sources_seen_by(people)
    assert len(seen) == len(people)
    for person in people:
        alone = set(Source.objects.visible_to(person).values_list("pk", flat=True))
        sources = seen[person.pk]
        assert (everything if sources is None else sources) == alone


def test_who_sees_all_also_sees_sources_of_tomorrow():
    assert set(sources_seen_by([make_user(Role.VIEWER), make_superuser()]).values()) == {None}


def test_inactive_people_are_left_out():
    assert sources_seen_by([make_user(Role.VIEWER, is_active=False), make_superuser(is_active=False)]) == {}


def test_owner_of_a_video_is_its_team():
    team, task = make_team(), make_task()
    made, of_nobody = make_generation(team=team), make_generation()
    owners = read_owners_of([made.pk, of_nobody.pk, task.pk, 0])
    assert owners == {
        made.pk: (made.task.source_id, frozenset({team.pk})),
        of_nobody.pk: (of_nobody.task.source_id, frozenset()),
        task.pk: (task.source_id, frozenset()),
    }
