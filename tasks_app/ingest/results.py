"""Stores the bytes of results: streamed, counted, hashed and looked at, and never a row without its whole file.

Bytes go to a part file first, which becomes the stored file in one step (or goes to the bucket). Whatever a killed
worker leaves has no row and is removed by `sweep`.
"""

import hashlib
import logging
import mimetypes
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction

from tasks_app.ingest.sniffing import HEAD_BYTES, UNKNOWN, FileType, sniff
from tasks_app.ingest.text import storable
from tasks_app.models import Asset, Generation, TaskEvent
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.generation.base import Download

logger = logging.getLogger(__name__)

FOLDER = "results"
RESERVE_BYTES = 256 * 1024 * 1024
"""Left free on the disk, for the database above all."""
_LOOK_EVERY_BYTES = 64 * 1024 * 1024
_MOST_ERROR = 500
_MEDIA = {"video": "video", "image": "picture", "audio": "sound"}
_TEXTS = {"html": "a web page", "svg": "a drawing (SVG)", "xml": "XML", "json": "JSON", "text": "text"}


class TooLarge(Exception):
    """More bytes than the limit; the text is for people."""


class NotStored(Exception):
    """Nothing is wrong with the result: our own disk or bucket does not take it now."""


class WrongKind(Exception):
    """Something else came than what was promised, for example a page with an error instead of a video."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the media storage. `name` is its name there, `sha256` in hex."""

    name: str
    size: int
    sha256: str
    type: FileType


class _Part(File):  # type: ignore[type-arg]
    """A finished part file: a disk takes it over by renaming, a bucket reads it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def store(
    download: Download,
    *,
    stem: str,
    max_bytes: int,
    expected: str = "",
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Stored:
    """Write the bytes of `download` to the storage under a name that begins with `stem`.

    `expected` is video, image, audio or "" (anything); `on_bytes` gets the count so far. Raises what `download` raises,
    TooLarge, NotStored and WrongKind; then nothing is left behind.
    """
    limit_words = f"larger than the limit of {max_bytes // 1024**2} MB"
    if download.size is not None and download.size > max_bytes:
        raise TooLarge(f"It is {limit_words} ({download.size / 1024**2:.0f} MB).")
    with _part_file(stem) as (path, file):
        _check_space(path, download.size or 0)
        digest, size, head, next_look = hashlib.sha256(), 0, b"", _LOOK_EVERY_BYTES
        for chunk in download.chunks:
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(f"It is {limit_words}.")
            if len(head) < HEAD_BYTES:
                head = (head + chunk)[:HEAD_BYTES]
                if len(head) == HEAD_BYTES:
                    _check_kind(sniff(head), expected)
            if size > next_look:
                _check_space(path, 0)
                next_look += _LOOK_EVERY_BYTES
            digest.update(chunk)
            _write(file, chunk)
            on_bytes(size)
        if size == 0 or (download.size is not None and size != download.size):
            raise SourceUnavailable("The file came incomplete.", kind="connection")
        found = sniff(head)
        _check_kind(found, expected)
        name = _keep(path, file, f"{FOLDER}/{stem}-{secrets.token_hex(8)}{found.suffix}")
    return Stored(name, size, digest.hexdigest(), found)


def expected_kind(asset: Asset, generation: Generation) -> str:
    """video, image or audio when the remote or the order promised that; "" when anything may come."""
    claims = [asset.declared_type, mimetypes.guess_type(asset.name)[0] or ""]
    known = [claim for claim in claims if claim and claim != UNKNOWN]
    for claim in known:
        major = claim.partition("/")[0]
        if major in _MEDIA:
            return "" if "svg" in claim else major
    is_plain = generation.kind in (Generation.Kind.VIDEO, Generation.Kind.IMAGE)
    return str(generation.kind) if is_plain and not known else ""


@transaction.atomic
def record_copied(asset: Asset, stored: Stored, *, at: datetime) -> bool:
    """The copy is there: its row, and the event for pages. False when the row no longer waits for it."""
    waiting = Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING)
    task = asset.generation.task
    written = waiting.update(
        state=Asset.State.COPIED,
        file=stored.name,
        name=f"{task.api_id}-{asset.number + 1}{stored.type.suffix}",
        size=stored.size,
        sha256=stored.sha256,
        media_type=stored.type.media_type,
        copied_at=at,
        bytes_done=stored.size,
        error="",
        lease_until=None,
        url="",  # no use any more, and perhaps signed
        ref={},
    )
    if written:
        _announce(asset)
    return bool(written)


@transaction.atomic
def record_trouble(
    asset: Asset, state: Asset.State, error: str, *, next_attempt_at: datetime | None = None
) -> None:
    """The copy failed: for now (`state` waiting, with the time of the next attempt) or for good."""
    changes: dict[str, Any] = {"next_attempt_at": next_attempt_at} if next_attempt_at else {}
    waiting = Asset.objects.filter(pk=asset.pk, state=Asset.State.WAITING)
    words = storable(error)[:_MOST_ERROR]
    if waiting.update(state=state, error=words, bytes_done=0, lease_until=None, **changes):
        _announce(asset)


def remove_files(names: list[str]) -> int:
    """Delete stored files; how many went. One that cannot be deleted now is found by the sweep."""
    gone = 0
    for name in names:
        try:
            default_storage.delete(name)
            gone += 1
        except Exception as error:  # whatever a storage raises
            logger.warning("file not removed name=%s error=%s", name, type(error).__name__)
    return gone


def parts_folder() -> Path:
    """Where files are written until they are whole: on the disk of the storage, so that a rename suffices."""
    return Path(settings.MEDIA_ROOT) / "parts"


@contextmanager
def _part_file(stem: str) -> Iterator[tuple[Path, Any]]:
    """An empty file that is gone afterwards, unless it was renamed."""
    folder = parts_folder()
    path = folder / f"{re.sub('[^A-Za-z0-9_-]', '_', stem)}.{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except OSError as error:
        raise NotStored(f"The disk does not take it: {error.strerror}.") from None
    try:
        with file:
            yield path, file
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _write(file: Any, chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise NotStored(f"The disk does not take it: {error.strerror}.") from None


def _keep(path: Path, file: Any, name: str) -> str:
    """Make the whole part a stored file; the name that it got."""
    try:
        file.flush()
        os.fsync(file.fileno())
        with path.open("rb") as source:
            return str(default_storage.save(name, _Part(source, name=str(path))))
    except Exception as error:  # whatever a storage raises
        logger.exception("result not stored")
        raise NotStored(f"The media storage does not take it ({type(error).__name__}).") from error


def _check_space(path: Path, coming_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free - coming_bytes < RESERVE_BYTES:
        raise NotStored(f"The portal's disk is full: {free / 1024**2:.0f} MB free.")


def _check_kind(found: FileType, expected: str) -> None:
    if expected and found.text and not (expected == "image" and found.text == "svg"):
        raise WrongKind(f"The provider sent {_TEXTS[found.text]} instead of a {_MEDIA[expected]}.")


def _announce(asset: Asset) -> None:
    task = asset.generation.task
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=TaskEvent.Kind.STATE)
