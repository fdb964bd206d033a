"""What each person sees, read for many at once."""

import pytest

from tasks_app.access.policy import sources_seen_by
from tasks_app.models import Grant, Role, Source
from tests.factories import make_source, make_superuser, make_user

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
