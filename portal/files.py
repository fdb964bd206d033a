"""Sends stored files from the event loop, so that a slow reader holds no thread of the pages.

A page decides who gets which file and with which headers; it names the file by calling `scope["portal.files"]`, which
reaches it as `request.META["asgi.scope"]`. It is an object of this process: no header says it, so none can be forged.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import anyio
from django.core.files.storage import default_storage
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

KEY = "portal.files"
# Said by the file itself, not by the empty answer of the page.
_OF_THE_BODY = (b"content-length", b"transfer-encoding")


class Files:
    """Around the pages: answers that name a file are completed with it."""

    def __init__(self, pages: Handler) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names: list[str] = []
        held: RawHeaders | None = None

        async def pass_on(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and names and message["status"] == 200:
                held = [(name, value) for name, value in message["headers"] if name not in _OF_THE_BODY]
            elif held is None:
                await send(message)

        await self._pages({**scope, KEY: names.append}, receive, pass_on)
        if held is not None:
            await send_file(names[-1], held, scope, receive, send)


async def send_file(name: str, headers: RawHeaders, scope: Scope, receive: Receive, send: Send) -> None:
    """The file `name` of the media storage, or the one range of it that was asked for; stops when the reader leaves."""
    try:
        path = default_storage.path(name)
    except NotImplementedError:
        sending = _send_remote(name, headers, scope, receive, send)
    else:
        sending = _send_local(path, headers, scope, receive, send)
    await _until_gone(sending, receive)


async def _until_gone(sending: Awaitable[None], receive: Receive) -> None:
    """The server takes what is sent to a reader who has left, so nobody else would stop reading the disk."""
    work = asyncio.ensure_future(sending)
    left = asyncio.ensure_future(_wait_for_leave(receive))
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not work.done():
            work.cancel()
    await asyncio.gather(work, left, return_exceptions=True)
    if not work.cancelled() and (error := work.exception()):
        raise error


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_local(path: str, headers: RawHeaders, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        found = await anyio.to_thread.run_sync(os.stat, path)
    except OSError:
        return await _send_gone(scope, receive, send)
    if not stat.S_ISREG(found.st_mode):
        return await _send_gone(scope, receive, send)
    response = FileResponse(path)
    response.raw_headers[:] = [*headers, (b"accept-ranges", b"bytes")]
    response.set_stat_headers(found)
    response.stat_result = found
    scope = _with_one_range(scope)
    scope.pop("extensions", None)  # a server that sends files by path would outlive the reader's leave
    await response(scope, receive, send)


def _with_one_range(scope: Scope) -> Scope:
    """Without a Range header of several ranges: players ask for one, and the whole file is a right answer too."""
    kept = [(name, value) for name, value in scope["headers"] if name != b"range" or b"," not in value]
    # Starlette waits itself for the reader to leave when the server is older than this; we do that.
    return {**scope, "headers": kept, "asgi": {**scope.get("asgi", {}), "spec_version": "2.4"}}


async def _send_gone(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("The file is not there any more.", status_code=404)(scope, receive, send)


async def _send_remote(name: str, headers: RawHeaders, scope: Scope, receive: Receive, send: Send) -> None:
    """From a storage that reads ranges itself, piece by piece; every piece is fetched when the last one has gone."""
    try:
        size = await anyio.to_thread.run_sync(default_storage.size, name)
        status, told, span = _answer(headers, scope, size)
        pieces: Iterator[bytes] = iter(())
        if span and scope["method"] != "HEAD":
            pieces = default_storage.read_range(name, *span)  # type: ignore[attr-defined]
        piece = await anyio.to_thread.run_sync(_next, pieces)
    except FileNotFoundError:
        return await _send_gone(scope, receive, send)
    except Exception:  # whatever a storage raises
        logger.exception("media storage does not answer")
        answer = PlainTextResponse("The portal's media storage does not answer.", status_code=502)
        return await answer(scope, receive, send)
    await send({"type": "http.response.start", "status": status, "headers": told})
    while piece:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        piece = await anyio.to_thread.run_sync(_next, pieces)
    await send({"type": "http.response.body", "body": b""})


def _answer(headers: RawHeaders, scope: Scope, size: int) -> tuple[int, RawHeaders, tuple[int, int] | None]:
    """Status, headers, and the first and last byte to send; None for none."""
    asked = Headers(raw=_with_one_range(scope)["headers"])
    etag = Headers(raw=headers).get("etag", "")
    whole = (0, size - 1)
    span = _span(asked.get("range", ""), size) if asked.get("if-range", etag) == etag else whole
    if span is None:
        told = [(b"content-range", f"bytes */{size}".encode()), (b"content-length", b"0")]
        return 416, told, None
    first, last = span
    told = [*headers, (b"accept-ranges", b"bytes"), (b"content-length", str(last - first + 1).encode())]
    if span == whole:
        return 200, told, span if size else None
    return 206, [*told, (b"content-range", f"bytes {first}-{last}/{size}".encode())], span


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")


def _span(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; everything when there is none that makes sense, None outside the file."""
    whole = (0, size - 1)
    unit, _, text = header.partition("=")
    low, dash, high = (part.strip() for part in text.partition("-"))
    is_number = all(part.isascii() and part.isdigit() and len(part) < 19 for part in (low, high) if part)
    if unit.strip().lower() != "bytes" or not dash or not (low or high) or not is_number:
        return whole
    if not low:
        return (max(0, size - int(high)), size - 1) if int(high) and size else None
    last = min(int(high), size - 1) if high else size - 1
    if int(low) >= size:
        return None
    return (int(low), last) if int(low) <= last else whole
