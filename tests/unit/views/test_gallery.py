"""The gallery: whose results, search, filters, pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from tasks_app.models import Generation, Role, Source, Team
from tasks_app.states import State
from tasks_app.views.gallery import PAGE_TILES
from tests.factories import (
    make_asset,
    make_generation,
    make_generation_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_generation_source(name="studio")


@pytest.fixture
def ann() -> User:
    return make_user(username="ann")


@pytest.fixture
def team(ann: User) -> Team:
    return make_team(ann, name="Film")


@pytest.fixture
def as_ann(client: Client, ann: User, team: Team) -> Client:
    client.force_login(ann)
    return client


def make_result(
    source: Source,
    team: Team,
    prompt: str,
    actor: User | None = None,
    asset: dict[str, Any] | None = None,
    **fields: Any,
) -> Generation:
    """A completed task with one copied picture."""
    made = make_generation(
        source, team=team, prompt=prompt, actor=actor or make_user(), **({"state": State.COMPLETED} | fields)
    )
    copied = {"state": "copied", "media_type": "image/png", "name": "result.png", "file": "results/x.png"}
    make_asset(made, **(copied | (asset or {})))
    return made


def test_own_and_team_results_are_shown_and_those_of_others_are_not(
    as_ann: Client, source: Source, team: Team, ann: User
) -> None:
    make_result(source, team, "My fox", ann)
    make_result(source, team, "Team fox")
    make_result(source, make_team(), "Hidden fox")
    page = as_ann.get("/gallery/").text
    assert "My fox" in page and "Team fox" in page
    assert "Hidden fox" not in page
    assert "studio" in page


def test_role_on_the_source_shows_its_results(client: Client, source: Source) -> None:
    make_result(source, make_team(), "A fox")
    client.force_login(make_user(Role.VIEWER, source=source))
    assert "A fox" in client.get("/gallery/").text
    client.force_login(make_superuser())
    assert "A fox" in client.get("/gallery/").text


def test_nobody_signed_in_is_led_to_sign_in(client: Client) -> None:
    assert client.get("/gallery/").status_code == 302


def test_only_what_has_a_file_is_shown(as_ann: Client, source: Source, team: Team) -> None:
    make_result(source, team, "Removed fox", asset={"state": "removed"})
    make_result(source, team, "Failed fox", state=State.FAILED)
    make_generation(source, team=team, prompt="Running fox", state=State.PROCESSING)
    make_result(source, team, "Coming fox", asset={"state": "waiting"})
    page = as_ann.get("/gallery/").text
    assert "Coming fox" in page and "Being copied" in page
    assert "Removed fox" not in page and "Failed fox" not in page and "Running fox" not in page


FILTERS = [
    ("q=LIGHTHOUSE", {"lighthouse"}),
    ("q=storm+lighthouse", {"lighthouse"}),
    ("q=ÄPFEL", {"apples"}),
    ("q=100%25", {"percent"}),
    ("q=%25", {"percent"}),
    ("q=a%00b", None),
    ("whose=mine", {"mine"}),
    ("whose=team-{team}", {"lighthouse", "apples", "percent", "mine", "video", "kept", "elsewhere"}),
    ("whose=team-{other}", None),
    ("kind=video", {"video"}),
    ("kept=1", {"kept"}),
    ("source={source}", {"elsewhere"}),
    ("source=999", None),
    ("kind=x&whose=%27&before=zzz&source=%00", None),
    ("kept=1&kind=video", set()),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERS, ids=range(len(FILTERS)))
def test_filters_choose_and_nonsense_is_left_out(
    as_ann: Client, source: Source, team: Team, ann: User, query: str, wanted: set[str] | None
) -> None:
    elsewhere = make_generation_source(name="elsewhere")
    other = make_team(name="Other")
    made = {
        "lighthouse": make_result(source, team, "A lighthouse in a storm"),
        "apples": make_result(source, team, "Rote Äpfel"),
        "percent": make_result(source, team, "Sharp to 100%"),
        "mine": make_result(source, team, "A cup", ann),
        "video": make_result(source, team, "A river", kind="video"),
        "kept": make_result(source, team, "A tree", kind="image", kept_at=now()),
        "elsewhere": make_result(elsewhere, team, "A boat", kind="image"),
    }
    Generation.objects.exclude(pk=made["video"].pk).update(kind="image")
    page = as_ann.get("/gallery/?" + query.format(team=team.pk, other=other.pk, source=elsewhere.pk)).text
    shown = {name for name, one in made.items() if f'href="/tasks/{one.pk}/"' in page}
    assert shown == (set(made) if wanted is None else wanted)


def test_empty_gallery_and_empty_search_say_different_things(
    as_ann: Client, source: Source, team: Team
) -> None:
    assert "No results yet" in as_ann.get("/gallery/").text
    page = as_ann.get("/gallery/?q=zebra&kind=video").text
    assert "Nothing passes these filters" in page and "Search: zebra" in page and "Kind: Video" in page


def test_pages_go_on_by_key_with_their_filters(as_ann: Client, source: Source, team: Team) -> None:
    made = [make_result(source, team, f"Fox {number}") for number in range(PAGE_TILES + 3)]
    first = as_ann.get("/gallery/?q=fox").text
    last_shown = made[3].pk
    assert first.count('class="tile card"') == PAGE_TILES
    assert f"?q=fox&amp;before={last_shown}" in first
    headers = {"HX-Request": "true", "HX-Target": "gallery-more"}
    part = as_ann.get(f"/gallery/?q=fox&before={last_shown}", headers=headers).text
    assert part.count('class="tile card"') == 3
    assert "<html" not in part and "Load more" not in part
    page = as_ann.get(f"/gallery/?q=fox&before={last_shown}").text
    assert "Back to the newest" in page and page.count('class="tile card"') == 3


def test_number_of_queries_does_not_grow_with_the_tiles(
    as_ann: Client, source: Source, team: Team, django_assert_max_num_queries: Any
) -> None:
    for number in range(PAGE_TILES):
        make_asset(
            make_result(source, team, f"Fox {number}"), state="copied", media_type="image/png", file="x"
        )
    as_ann.get("/gallery/")
    with django_assert_max_num_queries(16):
        as_ann.get("/gallery/")


def test_videos_load_nothing_by_themselves_and_pictures_late(
    as_ann: Client, source: Source, team: Team
) -> None:
    make_result(source, team, "v", asset={"media_type": "video/mp4", "name": "v.mp4"})
    make_result(source, team, "i")
    page = as_ann.get("/gallery/").text
    assert 'preload="none"' in page and "autoplay" not in page
    assert 'loading="lazy"' in page


def test_prompt_and_name_are_text_and_nothing_else(as_ann: Client, source: Source, team: Team) -> None:
    make_result(source, team, "<script>x</script>", asset={"name": 'a"><b>.png'})
    page = as_ann.get("/gallery/").text
    assert "<script>x" not in page and "<b>.png" not in page


def test_kept_ones_are_marked_and_several_files_are_counted(
    as_ann: Client, source: Source, team: Team
) -> None:
    made = make_result(source, team, "Kept fox", kept_at=now(), kept_by_name="ann")
    make_asset(made, state="copied", media_type="image/png", file="x")
    page = as_ann.get("/gallery/").text
    assert "Kept by ann" in page and "2 files" in page
