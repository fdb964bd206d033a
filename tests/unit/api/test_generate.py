"""Submitting videos, images and workflows by the bodies of the guide."""

import json
from base64 import b64decode, b64encode

import pytest

from tasks_app.api import bodies
from tasks_app.models import AuditEntry, Generation, Role, Upload
from tests.factories import make_generation_source, make_source, make_superuser, make_team, make_user
from tests.unit.api.conftest import Caller, error_of

pytestmark = pytest.mark.django_db

PNG = b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fccfc0500f0004850180"
        "84a98c210000000049454e44ae426082"
    )
).decode()
VIDEO = {"image": PNG, "prompt": "A red fox", "duration": 5}


@pytest.fixture(autouse=True)
def _own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def source():
    return make_generation_source(name="veo3")


@pytest.fixture
def operator(source) -> Caller:
    return Caller(make_user(Role.OPERATOR))


def fields_of(answer) -> dict[str, str]:
    assert error_of(answer) == (422, "VALIDATION_ERROR")
    return answer.json()["error"]["fields"]


def test_video_is_submitted_and_followed_by_its_id(operator):
    answer = operator.post("/videos/generate", VIDEO | {"unknown": 1})
    row = Generation.objects.get()
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "task_id": f"vid_{row.pk}",
            "status": "pending",
            "message": "Task submitted. Ask for its status.",
        },
    )
    assert answer["Location"] == f"http://testserver/api/v1/tasks/vid_{row.pk}"
    assert operator.client.get(answer["Location"]).json()["status"] == "pending"
    assert (row.actor, row.prompt, row.parameters["duration"]) == (operator.user, "A red fox", 5)
    upload = Upload.objects.get()
    assert (upload.parameter, upload.media_type) == ("image", "image/png")
    entry = AuditEntry.objects.get(action="generation.submit")
    assert (entry.actor_name, entry.source_name) == (operator.user.username, "veo3")


def test_the_same_key_makes_one_task(operator):
    first = operator.post("/videos/generate", VIDEO, **{"Idempotency-Key": "k1"})
    again = operator.post("/videos/generate", VIDEO, **{"Idempotency-Key": "k1"})
    assert first.json() == again.json()
    assert operator.post("/videos/generate", VIDEO).json()["task_id"] != first.json()["task_id"]
    assert Generation.objects.count() == 2


@pytest.mark.parametrize(
    "image",
    [f"data:image/png;base64,{PNG}", f"data:;base64,{PNG}", f" {PNG[:40]}\n{PNG[40:]} "],
    ids=["data url", "without type", "with breaks"],
)
def test_picture_may_be_a_data_url_or_hold_line_breaks(operator, image):
    assert operator.post("/videos/generate", VIDEO | {"image": image}).status_code == 200
    assert Upload.objects.get().media_type == "image/png"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("https://example.com/a.png", "fetches no addresses"),
        ("not base64!", "no base64"),
        ("data:image/png;base64", "cannot be read"),
        (5, "base64 text or as a data URL"),
        ({}, "base64 text or as a data URL"),
        ("YWJj", "PNG, JPEG, WebP or GIF"),
        ("data:image/png,<svg onload=x>", "PNG, JPEG, WebP or GIF"),
        (None, "needed"),
    ],
    ids=["address", "no base64", "no data", "number", "object", "text", "svg", "none"],
)
def test_what_is_no_picture_is_named(operator, image, words):
    assert words in fields_of(operator.post("/videos/generate", VIDEO | {"image": image}))["image"]
    assert not Generation.objects.exists()


def test_all_that_is_wrong_is_named(operator):
    answer = operator.post("/videos/generate", {"prompt": 5, "duration": "long", "fps": 10_000})
    assert set(fields_of(answer)) >= {"image", "duration", "fps"}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "5",
        '{"a": NaN}',
        '{"prompt": "x", "duration": -1e999}',
        "[" * 100_000,
        b"\xff\xfe\x00",
        '{"a": ' * 950 + "1" + "}" * 950,
    ],
    ids=["empty", "cut", "list", "number", "nan", "infinite", "deep", "bytes", "deep object"],
)
def test_what_is_no_json_object_is_422(operator, body):
    answer = operator.post("/videos/generate", body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "VALIDATION_ERROR"


def test_hostile_text_is_kept_visible(operator):
    answer = operator.post("/videos/generate", json.dumps(VIDEO | {"prompt": "a\0b\ud800c"}))
    assert answer.status_code == 200
    assert Generation.objects.get().prompt == "a\ufffdb?c"


@pytest.mark.parametrize(
    "own",
    [{"source": ["x"]}, {"source": {"a": 1}}, {"offer": [1]}, {"team": {}}, {"minutes": "5"}, {"model": []}],
    ids=["source list", "source object", "offer", "team", "minutes", "model"],
)
def test_own_names_of_a_wrong_form_are_422(operator, own):
    answer = operator.post("/videos/generate", VIDEO | own)
    assert answer.status_code == 422


def test_body_beyond_the_limit_is_413(operator, settings):
    settings.UPLOAD_MAX_MB = 1
    limit = bodies.picture_body_limit()
    answer = operator.post("/videos/generate", json.dumps({"image": "A" * limit}))
    assert error_of(answer) == (413, "TOO_LARGE")


def test_picture_larger_than_djangos_own_limit_of_a_body_is_taken(operator):
    large = b64encode(b64decode(PNG) + b"\0" * 4_000_000).decode()
    assert operator.post("/videos/generate", VIDEO | {"image": large}).status_code == 200
    assert Upload.objects.get().size > 4_000_000


# which source, offer and team


def test_several_sources_are_named_and_one_is_chosen(operator):
    make_generation_source(name="sora")
    assert fields_of(operator.post("/videos/generate", VIDEO)) == {
        "source": "Say which source is meant: sora, veo3."
    }
    assert operator.post("/videos/generate", VIDEO | {"source": "sora"}).status_code == 200
    assert Generation.objects.get().task.source.name == "sora"
    wrong = operator.post("/videos/generate", VIDEO | {"source": "kling"})
    assert fields_of(wrong) == {"source": "You can make nothing there. Choose from: sora, veo3."}


def test_clusters_are_no_choice(operator):
    make_source(name="prod")
    assert operator.post("/videos/generate", VIDEO).status_code == 200


def test_a_kind_that_nobody_offers(operator):
    assert fields_of(operator.post("/images/generate", {"prompt": "x"})) == {
        "source": "The sources that you may use offer no image."
    }


def test_the_plain_workflow_is_meant_unless_another_is_named(operator):
    answer = operator.post("/workflow/generate", {"script": "A fox walks."})
    assert answer.json()["task_id"].startswith("workflow_")
    assert Generation.objects.get().offer == "workflow"
    wrong = operator.post("/workflow/generate", {"script": "A fox walks.", "offer": "nope"})
    assert fields_of(wrong) == {"offer": "Nobody offers this. Choose from: quick, workflow."}


def test_offers_of_one_kind_are_named_and_chosen_by_offer_or_model(operator, source):
    source.settings = {
        "offers": [
            {"key": key, "kind": "image", "label": key, "path": "/x", "parameters": [{"name": "prompt"}]}
            for key in ("small", "large")
        ]
    }
    source.save()
    assert fields_of(operator.post("/images/generate", {"prompt": "x"})) == {
        "offer": "Say which offer is meant: small, large."
    }
    for field in ("offer", "model"):
        assert operator.post("/images/generate", {"prompt": "x", field: "large"}).status_code == 200
    assert set(Generation.objects.values_list("offer", flat=True)) == {"large"}
    assert operator.post("/images/generate", {"prompt": "x", "model": "huge"}).status_code == 422


def test_member_makes_it_for_the_only_team_and_names_one_of_several(source):
    member = make_user()
    team = make_team(member, slug="film")
    source.teams.add(team)
    caller = Caller(member)
    assert caller.post("/videos/generate", VIDEO).status_code == 200
    assert Generation.objects.get().team == team
    other = make_team(member, slug="news", name="The News")
    source.teams.add(other)
    assert fields_of(caller.post("/videos/generate", VIDEO)) == {"team": "Say for which team: film, news."}
    for name in ("news", "The News"):
        assert caller.post("/videos/generate", VIDEO | {"team": name}).status_code == 200
    assert Generation.objects.filter(team=other).count() == 2
    assert "team" in fields_of(caller.post("/videos/generate", VIDEO | {"team": "secret"}))


def test_quota_of_the_team_is_409(source):
    member = make_user()
    source.teams.add(make_team(member, max_generations=1))
    caller = Caller(member)
    assert caller.post("/videos/generate", VIDEO).status_code == 200
    assert error_of(caller.post("/videos/generate", VIDEO)) == (409, "QUOTA_EXCEEDED")


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.AUDITOR], ids=["stranger", "viewer", "auditor"])
def test_who_may_make_nothing_is_refused_and_learns_no_names(source, role):
    caller = Caller(make_user(role))
    answer = caller.post("/videos/generate", VIDEO | {"source": "veo3"})
    assert error_of(answer) == (403, "NOT_PERMITTED")
    assert "veo3" not in answer.text
    assert AuditEntry.objects.filter(action="permission.denied", actor_id=caller.user.pk).count() == 1


def test_paused_source_is_409(source):
    source.paused_at = source.created_at
    source.save()
    assert error_of(Caller(make_superuser()).post("/videos/generate", VIDEO)) == (409, "SOURCE_PAUSED")


def test_long_key_is_named(operator):
    answer = operator.post("/videos/generate", VIDEO, **{"Idempotency-Key": "k" * 65})
    assert "idempotency_key" in fields_of(answer)
