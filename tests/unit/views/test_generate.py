"""Making videos and images: what one may make, and the form."""

import io
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.timezone import now
from PIL import Image

from tasks_app.models import AuditEntry, Generation, Role, Source, Task, Team
from tests.factories import (
    make_generation,
    make_generation_source,
    make_source,
    make_superuser,
    make_team,
    make_user,
)
from tests.unit.views.offers import SETTINGS

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_generation_source(name="studio", settings=SETTINGS)


@pytest.fixture
def ann() -> User:
    return make_user(username="ann")


@pytest.fixture
def team(ann: User, source: Source) -> Team:
    team = make_team(ann, name="Film")
    team.generation_sources.add(source)
    return team


@pytest.fixture
def as_ann(client: Client, ann: User, team: Team) -> Client:
    client.force_login(ann)
    return client


def address(source: Source, offer: str = "video") -> str:
    return f"/generate/{source.pk}/{offer}/"


def filled(team: Team | None = None, **changes: Any) -> dict[str, Any]:
    """The form as a browser sends it with a prompt and the defaults."""
    data = {
        "idempotency_key": str(uuid.uuid4()),
        "team": team.pk if team else "",
        "p-prompt": "A red fox",
        "p-duration": "4",
        "p-aspect_ratio": "16:9",
        "p-audio": "on",
    }
    return data | changes


def picture(size: tuple[int, int] = (4, 4)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "PNG")
    return out.getvalue()


def test_member_sees_the_sources_of_their_teams_with_price_and_traffic(
    as_ann: Client, source: Source, team: Team, ann: User
) -> None:
    make_generation_source(name="hidden-studio", settings=SETTINGS)
    make_source(name="a-cluster")
    make_generation(source, actor=ann, team=team)
    make_generation(source, actor=ann, team=team, state="processing")
    page = as_ann.get("/generate/").text
    assert "studio" in page and "Short video" in page
    assert "0.10 USD per s" in page and "0.02 USD" in page
    assert "1 running, 1 waiting" in page
    assert "hidden-studio" not in page and "a-cluster" not in page


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
def test_role_on_the_source_shows_it_without_a_team(client: Client, source: Source, role: Role) -> None:
    client.force_login(make_user(role, source=source))
    assert "Short video" in client.get("/generate/").text


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.AUDITOR])
def test_who_may_make_nothing_is_told_so(client: Client, source: Source, role: Role | None) -> None:
    client.force_login(make_user(role))
    page = client.get("/generate/").text
    assert "You may not make anything yet" in page
    assert "Short video" not in page


def test_admin_without_a_source_is_led_to_connecting_one(client: Client) -> None:
    client.force_login(make_superuser())
    assert "/sources/add/generation/" in client.get("/generate/").text


def test_sections_name_generate_only_where_something_can_be_made(
    client: Client, ann: User, source: Source
) -> None:
    client.force_login(ann)
    assert 'href="/generate/"' not in client.get("/").text
    make_team(ann).generation_sources.add(source)
    assert 'href="/generate/"' in client.get("/").text


def test_number_of_queries_does_not_grow_with_the_sources(
    as_ann: Client, team: Team, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        team.generation_sources.add(make_generation_source(settings=SETTINGS))
    as_ann.get("/generate/")
    with django_assert_max_num_queries(12):
        as_ann.get("/generate/")


def test_form_has_a_field_for_every_type_with_its_bounds(as_ann: Client, source: Source) -> None:
    page = as_ann.get(address(source)).text
    assert '<textarea name="p-prompt"' in page and 'maxlength="2000"' in page
    assert 'type="number" name="p-duration" value="4" min="1" max="8"' in page
    assert 'name="p-guidance"' in page and 'step="any"' in page
    assert 'type="radio" name="p-aspect_ratio" value="16:9"' in page
    assert '<select name="p-style"' in page
    assert 'type="file" name="p-first_frame"' in page and "image/png" in page
    assert 'type="checkbox" name="p-audio"' in page and "checked" in page
    assert 'type="text" name="p-negative" maxlength="300"' in page
    assert '<textarea name="p-extra"' in page
    assert "1 to 8 s." in page


def test_price_and_queue_follow_the_form(as_ann: Client, source: Source, ann: User, team: Team) -> None:
    for _ in range(3):
        make_generation(source, actor=ann, team=team)
    headers = {"HX-Request": "true"}
    part = as_ann.get(address(source), {"p-duration": "8"}, headers=headers).text
    assert "0.80 USD" in part and "3 wait before you" in part
    assert "<form" not in part


@pytest.mark.parametrize("value", ["", "x", "nan", "-1", "1e999", "9" * 5000], ids=range(6))
def test_price_of_nonsense_is_none(as_ann: Client, source: Source, value: str) -> None:
    answer = as_ann.get(address(source), {"p-duration": value}, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "0.10 USD per s" in answer.text and 'strong id="price"' not in answer.text


def test_sent_form_makes_a_task_and_leads_to_its_page(
    as_ann: Client, source: Source, team: Team, ann: User
) -> None:
    upload = SimpleUploadedFile("start.png", picture(), "image/png")
    sent = filled(
        team, minutes="30", **{"p-first_frame": upload, "p-extra": '{"seed": 3}', "p-guidance": "2.5"}
    )
    answer = as_ann.post(address(source), sent)
    made = Generation.objects.get()
    assert answer.status_code == 302 and answer["Location"] == f"/tasks/{made.pk}/"
    assert made.team == team and made.actor == ann and made.cancel_at is not None
    assert made.parameters == {
        "prompt": "A red fox",
        "duration": 4,
        "guidance": 2.5,
        "aspect_ratio": "16:9",
        "audio": True,
        "extra": {"seed": 3},
    }
    assert made.uploads.get().name == "start.png"
    assert AuditEntry.objects.filter(actor_name="ann", target_id=str(made.pk)).exists()


def test_same_form_sent_twice_makes_one_task(as_ann: Client, source: Source, team: Team) -> None:
    sent = filled(team)
    first, second = as_ann.post(address(source), sent), as_ann.post(address(source), sent)
    assert first["Location"] == second["Location"]
    assert Task.objects.count() == 1


def test_page_drawn_anew_has_a_new_key_and_one_with_errors_keeps_it(
    as_ann: Client, source: Source, team: Team
) -> None:
    def key_in(page: str) -> str:
        return page.partition('name="idempotency_key" value="')[2].partition('"')[0]

    first, second = (key_in(as_ann.get(address(source)).text) for _ in range(2))
    assert first and first != second
    sent = filled(team, **{"p-prompt": ""})
    assert key_in(as_ann.post(address(source), sent).text) == sent["idempotency_key"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("p-prompt", "", "This field is required."),
        ("p-duration", "9", "less than or equal to 8"),
        ("p-duration", "0", "greater than or equal to 1"),
        ("p-duration", "four", "Enter a whole number."),
        ("p-duration", "9" * 400, "less than or equal to 8"),
        ("p-guidance", "nan", "Enter a number."),
        ("p-aspect_ratio", "1:1", "Select a valid choice."),
        ("p-negative", "x" * 301, "at most 300 characters"),
        ("p-negative", "a\0b", "Null characters are not allowed."),
        ("p-extra", "{", "This is no JSON"),
        ("p-extra", "[NaN]", "no JSON that can be used"),
        ("p-extra", "[" * 100_000, "no JSON that can be used"),
        ("minutes", "0", "greater than or equal to 1"),
    ],
    ids=range(13),
)
def test_wrong_value_is_named_at_its_field_and_the_rest_stays(
    as_ann: Client, source: Source, team: Team, field: str, value: str, words: str
) -> None:
    sent = filled(team, **{"p-negative": "no rain"}) | {field: value}
    answer = as_ann.post(address(source), sent)
    assert answer.status_code == 422
    assert words in answer.text
    if field != "p-negative":
        assert "no rain" in answer.text
    assert f'id="id_{field}_error"' in answer.text
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<svg onload=alert(1)>", "no PNG, JPEG, GIF or WebP"),
        (b"", "The file is empty."),
        (b"RIFF0000AVI ", "no PNG, JPEG, GIF or WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1_000_001), "at most 1 MB are allowed"),
    ],
    ids=["svg", "empty", "not webp", "too large"],
)
def test_picture_that_is_none_or_too_large_is_refused_in_words(
    as_ann: Client, source: Source, team: Team, settings: Any, content: bytes, words: str
) -> None:
    settings.UPLOAD_MAX_MB = 1
    upload = SimpleUploadedFile("start.png", content, "image/png")
    answer = as_ann.post(address(source), filled(team, **{"p-first_frame": upload}))
    assert answer.status_code == 422
    assert words in answer.text
    assert "A red fox" in answer.text
    assert not Generation.objects.exists()


def test_form_that_comes_back_asks_for_the_picture_again(as_ann: Client, source: Source, team: Team) -> None:
    upload = SimpleUploadedFile("start.png", picture(), "image/png")
    page = as_ann.post(address(source), filled(team, **{"p-first_frame": upload, "p-prompt": ""})).text
    assert "Choose the picture for “First frame” again" in page


def test_one_team_is_named_and_several_are_offered(
    as_ann: Client, source: Source, team: Team, ann: User
) -> None:
    assert '<select name="team"' not in as_ann.get(address(source)).text
    make_team(ann, name="Marketing").generation_sources.add(source)
    page = as_ann.get(address(source)).text
    assert '<select name="team"' in page and "Film" in page and "Marketing" in page


def test_team_of_others_cannot_be_chosen(as_ann: Client, source: Source) -> None:
    other = make_team(name="Other")
    other.generation_sources.add(source)
    assert as_ann.post(address(source), filled(other)).status_code == 422
    assert not Task.objects.exists()


def test_operator_needs_no_team(client: Client, source: Source) -> None:
    client.force_login(make_user(Role.OPERATOR, source=source))
    assert client.post(address(source), filled()).status_code == 302
    assert Generation.objects.get().team is None


def test_viewer_is_refused_and_it_is_audited(client: Client, source: Source) -> None:
    client.force_login(make_user(Role.VIEWER, source=source))
    answer = client.post(address(source), filled())
    assert answer.status_code == 403 and "does not allow" in answer.text
    assert AuditEntry.objects.filter(result="refused").exists()


def test_stranger_cannot_tell_that_the_source_exists(client: Client, source: Source) -> None:
    client.force_login(make_user())
    assert client.get(address(source)).status_code == 404
    assert client.get("/generate/99999/video/").status_code == 404


def test_nobody_signed_in_is_led_to_sign_in(client: Client, source: Source) -> None:
    assert client.get(address(source)).status_code == 302
    assert client.get("/generate/").status_code == 302


def test_unknown_offer_and_cluster_are_not_there(as_ann: Client, source: Source) -> None:
    assert as_ann.get(address(source, "nothing")).status_code == 404
    assert as_ann.get(address(make_source())).status_code == 404


def test_paused_source_takes_nothing_and_says_so(as_ann: Client, source: Source, team: Team) -> None:
    Source.objects.update(paused_at=now())
    assert "is paused by an admin" in as_ann.get("/generate/").text
    answer = as_ann.post(address(source), filled(team))
    assert answer.status_code == 422 and "is paused" in answer.text and "A red fox" in answer.text


def test_earlier_input_is_taken_over(as_ann: Client, source: Source, ann: User, team: Team) -> None:
    parameters = {"prompt": "Once more", "duration": 7, "unknown": "x"}
    earlier = make_generation(source, actor=ann, team=team, parameters=parameters, state="failed")
    page = as_ann.get(address(source), {"again": str(earlier.pk)}).text
    assert "Once more" in page and 'value="7"' in page


@pytest.mark.parametrize("again", ["0", "x", "²", "9" * 40, "-1"], ids=range(5))
def test_earlier_input_that_is_not_there_is_left_out(as_ann: Client, source: Source, again: str) -> None:
    assert as_ann.get(address(source), {"again": again}).status_code == 200


def test_input_of_strangers_is_not_taken_over(as_ann: Client, source: Source) -> None:
    earlier = make_generation(source, actor=make_user(), prompt="A secret")
    assert "A secret" not in as_ann.get(address(source), {"again": str(earlier.pk)}).text
