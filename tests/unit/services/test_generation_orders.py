"""An order as the adapters take it: pictures, address for events, and what is the same over repeats."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import resolve

from tasks_app.models import Upload
from tasks_app.services.generation_orders import UploadMissing, order_of, sniff_picture
from tests.factories import make_generation

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def add_picture(row, content=b"bytes"):
    path = default_storage.save("uploads/a.png", ContentFile(content))
    return Upload.objects.create(
        generation=row,
        parameter="first_image",
        name="cat.png",
        media_type="image/png",
        size=len(content),
        sha256="x",
        file=path,
    )


def test_pictures_go_along_by_their_parameter():
    row = make_generation()
    add_picture(row)
    (picture,) = order_of(row).uploads.values()
    assert (picture.name, picture.media_type, picture.content) == ("cat.png", "image/png", b"bytes")
    assert list(order_of(row).uploads) == ["first_image"]


def test_an_order_that_is_only_looked_for_reads_no_pictures():
    row = make_generation(is_sent=True)
    default_storage.delete(add_picture(row).file.name)
    order = order_of(row, has_uploads=False)
    assert order.uploads == {}
    assert order.asked_at == row.called_at
    with pytest.raises(UploadMissing, match=r"cat\.png"):
        order_of(row)


def test_pictures_never_stand_in_a_repr():
    row = make_generation()
    add_picture(row, b"secret bytes")
    assert "secret" not in repr(order_of(row))


def test_the_address_for_events_is_the_portals_own_and_names_source_and_token(settings):
    settings.BASE_URL = "https://portal.example"
    row = make_generation(webhook_token="token-1")
    url = order_of(row).webhook_url
    assert url.startswith("https://portal.example/")
    match = resolve(url.removeprefix("https://portal.example"))
    assert match.kwargs == {"source_id": row.task.source_id, "token": "token-1"}


@pytest.mark.parametrize(
    ("base_url", "token"), [("", "token-1"), ("https://portal.example", "")], ids=["no address", "no token"]
)
def test_without_address_or_token_no_events_are_asked_for(settings, base_url, token):
    settings.BASE_URL = base_url
    assert order_of(make_generation(webhook_token=token)).webhook_url == ""


def test_an_order_has_the_same_keys_each_time_and_another_one_others():
    row, other = make_generation(), make_generation()
    assert order_of(row).idempotency_key == order_of(row).idempotency_key
    assert order_of(row).idempotency_key != order_of(other).idempotency_key


def test_garbage_is_no_picture():
    for content in (b"", b"\0", b"GI", b"\xff" * 50, bytes(range(256)) * 40):
        assert sniff_picture(content) == ""
