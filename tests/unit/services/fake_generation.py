"""A generation source in memory for copies: gives files, counts calls, fails on demand. Opens no socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks_app.sources.generation.base import Download, GenerationObservation, RemoteAsset
from tasks_app.states import State

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 64
PNG = b"\x89PNG\r\n\x1a\n" + bytes(600)


class FakeAssets:
    """`files` maps an address to bytes, an error, or a list of these, one a call. `shown` is what `fetch` tells."""

    def __init__(self, **files: Any) -> None:
        self.files: dict[str, Any] = {f"https://cdn.example/{name}": file for name, file in files.items()}
        self.shown: tuple[RemoteAsset, ...] | Exception = ()
        self.opened: list[tuple[str, bool]] = []
        self.fetches = 0

    @contextmanager
    def open_asset(self, url: str, ref: Any, *, needs_auth: bool) -> Iterator[Download]:
        self.opened.append((url, needs_auth))
        file = self.files[url]
        if isinstance(file, list):
            file = file.pop(0) if len(file) > 1 else file[0]
        if isinstance(file, Exception):
            raise file
        yield file if isinstance(file, Download) else Download(iter([file]), len(file))

    def fetch(self, handle: Any) -> GenerationObservation:
        self.fetches += 1
        if isinstance(self.shown, Exception):
            raise self.shown
        return GenerationObservation(str(handle.get("id")), State.COMPLETED, assets=self.shown)
