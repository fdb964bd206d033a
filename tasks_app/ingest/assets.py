"""Result files of a completed task: one row each, to be copied. The bytes themselves are no matter of this module."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tasks_app.ingest.generation_values import aware, kept_json
from tasks_app.ingest.text import storable
from tasks_app.models import Asset, Generation
from tasks_app.sources.generation.base import RemoteAsset

logger = logging.getLogger(__name__)

MOST_ASSETS = 200
"""Files of one task that are kept."""
MOST_URL = 10_000
INLINE = "inline"
"""Key in `Asset.ref` of a file whose bytes came within the answer (a data URL): read the task again and take the
asset of the same number. The bytes wait for nobody in a table."""

# A copy that is done, or given up for good, stays as it is.
_RENEWABLE = frozenset({Asset.State.WAITING, Asset.State.FAILED, Asset.State.EXPIRED})


def store_assets(row: Generation, assets: Sequence[RemoteAsset], *, at: datetime) -> bool:
    """Rows for new files, fresh addresses for those not copied yet. False when nothing is new.

    A task that nobody asked for through the portal has none: its files belong to whoever started it.
    """
    if not row.actor_name:
        return False
    known = {asset.number: asset for asset in Asset.objects.filter(generation=row)} if assets else {}
    has_news = False
    for number, told in enumerate(assets[:MOST_ASSETS]):
        values = _values(row, number, told)
        if values is None:
            continue
        asset = known.get(number)
        if asset is None:
            Asset.objects.create(generation=row, number=number, next_attempt_at=at, **values)
            has_news = True
            continue
        changed = {name: value for name, value in values.items() if getattr(asset, name) != value}
        if changed and asset.state in _RENEWABLE:
            if asset.state == Asset.State.EXPIRED:
                changed |= {"state": Asset.State.WAITING, "error": "", "next_attempt_at": at}
            Asset.objects.filter(pk=asset.pk, state=asset.state).update(**changed)
            has_news = True
    return has_news


def tells_assets(row: Generation, assets: Sequence[RemoteAsset]) -> bool:
    """Whether `store_assets` might write something."""
    return bool(assets) and bool(row.actor_name)


def origin_of(url: str) -> str:
    """Scheme, host and path of an address, for people: never its query, which may be a signature."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return storable(f"{parts.scheme}://{host}{port}{parts.path}")[:300] if host else ""


def _values(row: Generation, number: int, told: RemoteAsset) -> dict[str, Any] | None:
    try:
        ref = kept_json(told.ref)
    except ValueError as error:
        logger.warning("asset skipped task=%d number=%d reason=%s", row.pk, number, error)
        return None
    if told.data is not None:
        ref[INLINE] = True
    url = storable(told.url)
    if len(url) > MOST_URL:
        logger.warning("asset skipped task=%d number=%d reason=address too long", row.pk, number)
        return None
    size = told.size if isinstance(told.size, int) and 0 <= told.size < 2**63 else None
    return {
        "name": storable(told.name).strip()[:200] or f"result-{number + 1}",
        "url": url,
        "ref": ref,
        "needs_auth": bool(told.needs_auth),
        "origin": origin_of(url),
        "declared_type": storable(told.media_type)[:100],
        "declared_size": size,
        "expires_at": aware(told.expires_at),
    }
