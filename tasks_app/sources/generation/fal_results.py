"""Finds the files in the JSON that a model at fal answers with. Pure, and bounded in every direction."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks_app.sources.generation import reading
from tasks_app.sources.generation.base import RemoteAsset
from tasks_app.sources.http import is_same_origin

MAX_DEPTH = 10
MAX_VALUES = 10_000
MAX_FILES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """`rest` is what the model said beside its files, cut short."""

    assets: tuple[RemoteAsset, ...]
    rest: dict[str, Any]


def find_files(data: Any, origin: str) -> Found:
    """Every `{url, content_type?, file_name?, file_size?}` once, in the order of the answer.

    A relative address counts from `origin`, and only there the key is needed; a data URL becomes its bytes.
    """
    assets: dict[str, RemoteAsset] = {}
    names_of_files = set()
    for place, value in _objects(data):
        if len(assets) >= MAX_FILES:
            break
        asset = _asset(value, origin, place[-1] if place else "result", len(assets) + 1)
        if asset is not None:
            assets.setdefault(asset.url or str(value["url"]), asset)
            names_of_files.add(place[0] if place else "")
    members = reading.members_of(data)
    rest = {
        name: value
        for name, value in members.items()
        if name not in names_of_files and "" not in names_of_files
    }
    return Found(_told_apart(assets.values()), reading.small_json(rest))


def _objects(data: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(names on the way, object) of all objects, outermost first; an object with an address is not looked into."""
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), data)])
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        place, value = waiting.popleft()
        if isinstance(value, dict) and isinstance(value.get("url"), str):
            yield place, value
        elif len(place) < MAX_DEPTH and len(waiting) < MAX_VALUES:
            if isinstance(value, dict):
                waiting.extend(((*place, str(name)), item) for name, item in list(value.items())[:200])
            elif isinstance(value, list):
                waiting.extend(((*place, place[-1] if place else "result"), item) for item in value[:200])


def _asset(value: dict[str, Any], origin: str, member: str, number: int) -> RemoteAsset | None:
    media_type = reading.text_of(value.get("content_type"), 100).lower()
    said_name = reading.text_of(value.get("file_name"), 200)
    inline = reading.from_data_url(value["url"])
    if inline is not None:
        media_type, content = media_type or inline[0], inline[1]
        return RemoteAsset(
            said_name or f"{member}-{number}", media_type=media_type, size=len(content), data=content
        )
    url = reading.url_of(value["url"], origin)
    if not url:
        return None
    return RemoteAsset(
        name=said_name or unquote(urlsplit(url).path.rpartition("/")[2])[:200] or f"{member}-{number}",
        url=url,
        media_type=media_type,
        needs_auth=is_same_origin(url, origin),
        size=reading.whole_of(value.get("file_size"), highest=2**53) or None,
        expires_at=reading.expiry_of(url),
    )


def _told_apart(assets: Any) -> tuple[RemoteAsset, ...]:
    """The same assets; a name that was there before gets its number in front."""
    seen: set[str] = set()
    named = []
    for number, asset in enumerate(assets, 1):
        named.append(replace(asset, name=f"{number}-{asset.name}") if asset.name in seen else asset)
        seen.add(asset.name)
    return tuple(named)
