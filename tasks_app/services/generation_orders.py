"""What belongs to an order beside its rows: the pictures that go with it, and the order as the adapters take it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import puremagic
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import NoReverseMatch, reverse

from tasks_app.ingest.text import storable
from tasks_app.models import Generation
from tasks_app.models import Upload as UploadRow
from tasks_app.sources.generation.base import Offer, Order, Upload

PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
"""Types that are taken, with the ending of their file here."""
MIB = 1024 * 1024


class UploadMissing(Exception):
    """The picture of an order is not in the storage any more."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One picture in the storage, not yet in a table."""

    parameter: str
    name: str
    media_type: str
    size: int
    sha256: str
    path: str


def check_uploads(offer: Offer, uploads: Mapping[str, Upload]) -> tuple[dict[str, Upload], dict[str, str]]:
    """The pictures for the parameters of `offer`, with their real type; and what is wrong, by parameter.

    Files for names that the offer does not declare are passed over, as values are.
    """
    checked: dict[str, Upload] = {}
    problems: dict[str, str] = {}
    for parameter in offer.parameters:
        upload = uploads.get(parameter.name) if parameter.type == "image" else None
        if upload is None:
            continue
        media_type = sniff_picture(upload.content)
        if len(upload.content) > settings.UPLOAD_MAX_MB * MIB:
            problems[parameter.name] = f"At most {settings.UPLOAD_MAX_MB} MB."
        elif not media_type:
            problems[parameter.name] = "A picture is needed: PNG, JPEG, WebP or GIF."
        else:
            checked[parameter.name] = Upload(_file_name(upload.name, media_type), media_type, upload.content)
    return checked, problems


def sniff_picture(content: bytes) -> str:
    """Its media type by its first bytes, one of PICTURES; "" for anything else, whatever its name says."""
    try:
        matches = puremagic.magic_string(content[:8192])
    except (puremagic.PureError, ValueError):
        return ""
    return next((match.mime_type for match in matches[:1] if match.mime_type in PICTURES), "")


@contextmanager
def stored(uploads: Mapping[str, Upload], own_id: str) -> Iterator[list[Stored]]:
    """Write the pictures to the storage; they are removed again when the block fails."""
    written: list[Stored] = []
    try:
        for number, (parameter, upload) in enumerate(uploads.items()):
            wanted = f"uploads/{own_id}-{number}.{PICTURES[upload.media_type]}"
            path = default_storage.save(wanted, ContentFile(upload.content))
            sha256 = hashlib.sha256(upload.content).hexdigest()
            written.append(
                Stored(parameter, upload.name, upload.media_type, len(upload.content), sha256, path)
            )
        yield written
    except BaseException:
        for file in written:
            with suppress(Exception):
                default_storage.delete(file.path)
        raise


def add_uploads(generation: Generation, files: Iterable[Stored]) -> None:
    UploadRow.objects.bulk_create(
        UploadRow(
            generation=generation,
            parameter=file.parameter,
            name=file.name,
            media_type=file.media_type,
            size=file.size,
            sha256=file.sha256,
            file=file.path,
        )
        for file in files
    )


def read_uploads(generation: Generation) -> dict[str, Upload]:
    """The pictures of an order by parameter. Raises UploadMissing."""
    found: dict[str, Upload] = {}
    for row in generation.uploads.order_by("pk"):
        try:
            with row.file.open("rb") as file:
                found[row.parameter] = Upload(row.name, row.media_type, file.read())
        except (FileNotFoundError, ValueError):  # lost, or removed by retention
            raise UploadMissing(f"The picture {row.name} is not there any more.") from None
    return found


def order_of(generation: Generation, *, has_uploads: bool = True) -> Order:
    """As the adapters take it. Without its pictures where it is only looked for. Raises UploadMissing."""
    return Order(
        offer=generation.offer,
        parameters=generation.parameters,
        own_id=generation.own_id,
        idempotency_key=generation.own_id,  # of this order, not of the person's click, which may make another one
        uploads=read_uploads(generation) if has_uploads else {},
        webhook_url=webhook_url_of(generation),
        asked_at=generation.called_at or generation.asked_at,
    )


def webhook_url_of(generation: Generation) -> str:
    """Where the provider may tell of this task; "" when the portal has no public address or the source wants none."""
    if not generation.webhook_token or not settings.BASE_URL:
        return ""
    try:
        path = reverse(
            "portal:generation-webhook", args=[generation.task.source_id, generation.webhook_token]
        )
    except NoReverseMatch:
        return ""
    return settings.BASE_URL + path


def _file_name(name: str, media_type: str) -> str:
    """The last part of what the person called it; never a path."""
    last = storable(name).replace("\\", "/").rpartition("/")[2]
    clean = "".join(character for character in last if character.isprintable()).strip()[:200]
    return clean or f"picture.{PICTURES[media_type]}"
