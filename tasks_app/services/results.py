"""Results of generation tasks: copying them as soon as they are there, and keeping them from retention.

A copy is claimed by `Asset.lease_until`, renewed while its job lives; a killed one starts anew. Whatever becomes of the
copy, the task stays completed.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import Refused
from tasks_app.ingest.assets import INLINE, store_assets
from tasks_app.ingest.results import (
    NotStored,
    Stored,
    TooLarge,
    WrongKind,
    expected_kind,
    record_copied,
    record_trouble,
    remove_files,
    store,
)
from tasks_app.models import Asset, Generation, Source, Task, TaskEvent
from tasks_app.queue import COPIES_AT_ONCE, Job, enqueue, stay_busy
from tasks_app.services.claims import CLAIM_SECONDS, kept_alive
from tasks_app.services.result_retention import clean_up, preview_clean_up, removal_at
from tasks_app.sources.errors import SourceError, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import Download, GenerationSource
from tasks_app.states import State

__all__ = [
    "clean_up",
    "copy_asset",
    "keep_result",
    "preview_clean_up",
    "record_download",
    "release_result",
    "removal_at",
]

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 3600
MAX_ATTEMPTS = 33
"""With pauses that double from 5 s to an hour: a day."""
GONE_KINDS = frozenset({"not_found", "expired", "forbidden"})
GONE_ATTEMPTS = 5
"""Over a minute: a file may reach the provider's own storage a moment after the task has ended."""
OTHER_KIND_SECONDS = 300
"""What was a page with an error once may be the video a little later."""
PIECE_BYTES = 256 * 1024


def copy_asset(asset_pk: int, *, client: GenerationSource | None = None) -> None:
    """Copy one result into the media storage, unless it is copied, is not due, or others are copied already.

    Takes as long as the download; running it twice is harmless.
    """
    asset = _claim(asset_pk)
    if asset is None:
        return
    count = _Count()
    try:
        with kept_alive(partial(_renew, asset.pk, count)):
            stored = _fetch(asset, client or _client_of(asset), count)
        if not record_copied(asset, stored, at=now()):
            remove_files([stored.name])
    except TooLarge as error:
        record_trouble(asset, Asset.State.TOO_LARGE, str(error))
    except (SourceError, NotStored, WrongKind) as error:
        _note_failure(asset, error)
    except Asset.DoesNotExist:
        return  # its source was removed meanwhile
    waiting = Asset.objects.due(now()).order_by("next_attempt_at").values_list("pk", flat=True)
    for next_pk in waiting[:1]:
        enqueue(Job.COPY_RESULT, next_pk)


@transaction.atomic
def keep_result(task: Task, *, actor: User) -> None:
    """Pin the results of `task`: retention leaves them. Keeping twice is harmless.

    Raises NotPermitted, and Refused when they have been removed or there are none to keep.
    """
    generation = _generation_of(task, actor)
    kept = Generation.objects.filter(pk=task.pk, cleaned_at__isnull=True, kept_at__isnull=True)
    if kept.update(kept_at=now(), kept_by_name=actor.get_username()[:200]):
        record(Action.RESULT_KEEP, actor=actor, target=task, source=task.source)
        _announce(task)
        return
    generation.refresh_from_db(fields=["cleaned_at"])
    if generation.cleaned_at is not None:
        raise Refused("The results have been removed already.")


@transaction.atomic
def release_result(task: Task, *, actor: User) -> None:
    """Unpin: the next clean-up removes what is older than the retention. Raises NotPermitted, Refused."""
    _generation_of(task, actor)
    kept = Generation.objects.filter(pk=task.pk, kept_at__isnull=False)
    if kept.update(kept_at=None, kept_by_name=""):
        record(Action.RESULT_RELEASE, actor=actor, target=task, source=task.source)
        _announce(task)


def record_download(asset: Asset, *, actor: User) -> None:
    """Somebody took a copy out of the portal."""
    task = asset.generation.task
    record(
        Action.RESULT_DOWNLOAD,
        actor=actor,
        target=task,
        source=task.source,
        name=asset.name,
        bytes=asset.size,
        sha256=asset.sha256,
    )


@dataclass
class _Count:
    """Bytes so far, told to the table by the thread that renews the claim."""

    done: int = 0
    told: int = 0

    def set(self, done: int) -> None:
        self.done = done


def _claim(asset_pk: int) -> Asset | None:
    """The row, ours for CLAIM_SECONDS; None when it is not due or there is no place."""
    at = now()
    if Asset.objects.under_way(at).count() >= COPIES_AT_ONCE:
        return None
    if not Asset.objects.due(at).filter(pk=asset_pk).exists():
        return None
    lease_until = at + timedelta(seconds=CLAIM_SECONDS)
    unclaimed = Asset.objects.unclaimed(at).filter(pk=asset_pk)
    if not unclaimed.update(lease_until=lease_until, attempts=F("attempts") + 1, bytes_done=0):
        return None
    asset = Asset.objects.select_related("generation__task__source").get(pk=asset_pk)
    if Asset.objects.under_way(at).count() > COPIES_AT_ONCE:
        # Two took the last place at the same moment: back, as if nothing had been.
        mine = Asset.objects.filter(pk=asset_pk, lease_until=lease_until)
        mine.update(lease_until=None, attempts=F("attempts") - 1)
        return None
    if asset.attempts > MAX_ATTEMPTS:
        record_trouble(asset, Asset.State.FAILED, asset.error or "It was tried for a day.")
        return None
    return asset


def _renew(asset_pk: int, count: _Count) -> None:
    stay_busy()
    claimed = Asset.objects.filter(
        pk=asset_pk, state=Asset.State.WAITING, lease_until__isnull=False
    ).select_related("generation__task")
    until = now() + timedelta(seconds=CLAIM_SECONDS)
    if not claimed.update(lease_until=until, bytes_done=count.done) or count.done == count.told:
        return
    count.told = count.done
    if asset := claimed.first():
        _announce(asset.generation.task, TaskEvent.Kind.PROGRESS)


def _client_of(asset: Asset) -> GenerationSource:
    try:
        return connections.generation_client_of(asset.generation.task.source)
    except ValueError as error:
        raise SourceUnavailable(f"The source is not set up rightly: {error}", kind="settings") from None


def _fetch(asset: Asset, client: GenerationSource, count: _Count) -> Stored:
    """The stored file. What has expired is asked for anew once: several providers sign fresh addresses then."""
    if asset.ref.get(INLINE):
        return _store_inline(asset, client, count)
    has_asked = False
    if asset.expires_at is not None and asset.expires_at <= now():
        has_asked = _renew_address(asset, client)
    try:
        return _download(asset, client, count)
    except SourceRefused as error:
        if error.kind not in GONE_KINDS or has_asked or not _renew_address(asset, client):
            raise
    return _download(asset, client, count)


def _download(asset: Asset, client: GenerationSource, count: _Count) -> Stored:
    with client.open_asset(asset.url, asset.ref, needs_auth=asset.needs_auth) as download:
        return _store(asset, download, count)


def _store_inline(asset: Asset, client: GenerationSource, count: _Count) -> Stored:
    """Bytes that came within the answer waited for nobody in a table: the task is read again."""
    seen = client.fetch(_handle_of(asset))
    told = seen.assets[asset.number] if asset.number < len(seen.assets) else None
    if told is None or (told.data is None and not told.url):
        raise SourceRefused("The provider does not have the file any more.", kind="not_found")
    if told.data is None:
        with client.open_asset(told.url, told.ref, needs_auth=told.needs_auth) as download:
            return _store(asset, download, count)
    return _store(asset, Download(_pieces(told.data), len(told.data), told.media_type), count)


def _pieces(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    return (bytes(view[first : first + PIECE_BYTES]) for first in range(0, len(data), PIECE_BYTES))


def _store(asset: Asset, download: Download, count: _Count) -> Stored:
    count.set(0)
    if download.size is not None:  # for the bar: few providers tell it with the task
        Asset.objects.filter(pk=asset.pk, declared_size__isnull=True).update(
            declared_size=min(download.size, 2**53)
        )
    return store(
        download,
        stem=f"{asset.generation.task.api_id}-{asset.number + 1}",
        max_bytes=settings.RESULT_MAX_MB * 1024**2,
        expected=expected_kind(asset, asset.generation),
        on_bytes=count.set,
    )


def _renew_address(asset: Asset, client: GenerationSource) -> bool:
    """Read the task once more and take the addresses it shows now. False when it does not tell any."""
    try:
        seen = client.fetch(_handle_of(asset))
    except SourceRefused:
        return False  # the provider has forgotten the task
    if seen.state is not State.COMPLETED or asset.number >= len(seen.assets):
        return False
    with transaction.atomic():
        store_assets(asset.generation, seen.assets, at=now())
    asset.refresh_from_db(fields=["url", "ref", "needs_auth", "expires_at", "declared_type", "name"])
    return True


def _handle_of(asset: Asset) -> Mapping[str, object]:
    handle: Mapping[str, object] = asset.generation.handle
    return handle


def _note_failure(asset: Asset, error: SourceError | NotStored | WrongKind) -> None:
    words, kind = str(error), getattr(error, "kind", type(error).__name__)
    logger.info("result not copied asset=%d attempt=%d kind=%s", asset.pk, asset.attempts, kind)
    if kind == "address" or (isinstance(error, WrongKind) and asset.error == words):
        return record_trouble(asset, Asset.State.FAILED, words)
    # Where the key is needed, a refusal is about the key, and an admin may put that right.
    is_gone = kind in GONE_KINDS and not (kind == "forbidden" and asset.needs_auth)
    if is_gone and asset.attempts >= GONE_ATTEMPTS:
        return record_trouble(asset, Asset.State.EXPIRED, words)
    if asset.attempts >= MAX_ATTEMPTS:
        return record_trouble(asset, Asset.State.FAILED, words)
    pause_seconds = _pause_seconds(asset, error)
    next_attempt_at = now() + timedelta(seconds=pause_seconds)
    return record_trouble(asset, Asset.State.WAITING, words, next_attempt_at=next_attempt_at)


def _pause_seconds(asset: Asset, error: Exception) -> float:
    if isinstance(error, WrongKind):
        return OTHER_KIND_SECONDS
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(asset.attempts - 1, 20))
    return max(pause, min(getattr(error, "retry_after", None) or 0.0, LONGEST_PAUSE_SECONDS))


def _generation_of(task: Task, actor: User) -> Generation:
    source = Source.objects.get(pk=task.source_id)
    if not task.is_generation:
        raise Refused("This task makes no results that could be kept.")
    require(actor, Verb.USE_RESULT, source, generation=task.generation)
    return task.generation


def _announce(task: Task, kind: TaskEvent.Kind = TaskEvent.Kind.STATE) -> None:
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=kind)
