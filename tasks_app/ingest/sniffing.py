"""What a file is, read from its first bytes. What a remote or a name says about it is only compared."""

import json
import re
from dataclasses import dataclass

import puremagic

HEAD_BYTES = 8192
"""Enough for every sign looked for here."""
UNKNOWN = "application/octet-stream"
INLINE_TYPES = frozenset(
    {
        *("video/mp4", "video/webm", "video/quicktime", "video/ogg"),
        *("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"),
        *("audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/mp4"),
    }
)
"""What a browser may show by itself: none of these holds anything that it executes."""
_MEDIA = ("video", "image", "audio")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class FileType:
    """`media_type` is UNKNOWN for whatever may only be downloaded blindly: SVG, pages, documents, archives.

    `text` says which text it is (html, svg, xml, json, text), "" for bytes.
    """

    media_type: str
    suffix: str
    text: str = ""


def sniff(head: bytes) -> FileType:
    """The type of a file that begins with `head`, which is HEAD_BYTES long or the whole file."""
    head = head[:HEAD_BYTES]
    if found := _known(head):
        return FileType(*found)
    for start, suffix in ((b"%PDF-", ".pdf"), (b"PK\x03\x04", ".zip"), (b"glTF", ".glb")):
        if head.startswith(start):
            return FileType(UNKNOWN, suffix)
    if text := _text_kind(head):
        return FileType(UNKNOWN, {"json": ".json", "text": ".txt"}.get(text, ".bin"), text)
    return _other_media(head)


def _known(head: bytes) -> tuple[str, str] | None:
    starts = (
        (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
        (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
        (b"GIF87a", "image/gif", ".gif"),
        (b"GIF89a", "image/gif", ".gif"),
        (b"fLaC", "audio/flac", ".flac"),
        (b"ID3", "audio/mpeg", ".mp3"),
    )
    for start, media_type, suffix in starts:
        if head.startswith(start):
            return media_type, suffix
    if head.startswith(b"RIFF"):
        riff = {b"WEBP": ("image/webp", ".webp"), b"WAVE": ("audio/wav", ".wav")}
        return riff.get(head[8:12])
    if head.startswith(b"\x1aE\xdf\xa3"):
        return ("video/webm", ".webm") if b"webm" in head[:64] else ("video/x-matroska", ".mkv")
    if head.startswith(b"OggS"):
        return ("video/ogg", ".ogv") if b"\x80theora" in head[:256] else ("audio/ogg", ".ogg")
    return _boxes(head) or (("audio/mpeg", ".mp3") if _is_mp3_frame(head) else None)


def _boxes(head: bytes) -> tuple[str, str] | None:
    """MP4 and its relatives: boxes of a length and four letters, the first of which names the brand."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        brands = {
            b"qt  ": ("video/quicktime", ".mov"),
            b"avif": ("image/avif", ".avif"),
            b"avis": ("image/avif", ".avif"),
            b"heic": ("image/heic", ".heic"),
            b"heix": ("image/heic", ".heic"),
            b"mif1": ("image/heic", ".heic"),
            b"M4A ": ("audio/mp4", ".m4a"),
        }
        return brands.get(brand, ("video/mp4", ".mp4"))
    if head[4:8] in (b"moov", b"mdat", b"wide") and head[:4] != b"\0\0\0\0":
        return "video/quicktime", ".mov"
    return None


def _is_mp3_frame(head: bytes) -> bool:
    """Eleven bits of sync, layer III, and no forbidden rate: otherwise any 0xFF would do."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, sampling = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and bitrate not in (0, 15) and sampling != 3


def _text_kind(head: bytes) -> str:
    """html, svg, xml, json or text; "" for what is no text."""
    text = _decoded(head)
    if text is None:
        return ""
    start = re.sub(r"<!--.*?(-->|$)", "", text, flags=re.DOTALL).lstrip("\ufeff \t\r\n").lower()
    if start.startswith("<"):
        if re.search(r"<svg[\s>/:]", start) and "<html" not in start:
            return "svg"
        return "xml" if start.startswith("<?xml") and "<html" not in start else "html"
    if start.startswith(("{", "[")) and _may_be_json(text):
        return "json"
    return "text" if start else ""


def _decoded(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace")
    if any(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head):
        return None
    # Latin-1 pages are text too, as long as their letters are mostly plain ones.
    plain = sum(byte < 128 for byte in head)
    return head.decode("utf-8", "replace") if plain >= len(head) * 0.7 else None


def _may_be_json(text: str) -> bool:
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError:
        return len(text) >= HEAD_BYTES - 8 or text.lstrip("\ufeff \t\r\n")[1:2] in ('"', "\n", "\r", " ", "{")
    return True


def _other_media(head: bytes) -> FileType:
    """Pictures, films and sounds that browsers do not show, by the tables of puremagic."""
    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError, IndexError):
        return FileType(UNKNOWN, ".bin")
    for match in matches[:1]:
        media_type, suffix = str(match.mime_type).lower(), str(match.extension).lower()
        # One that browsers would show is not believed here: its signs were looked for above.
        is_media = media_type.partition("/")[0] in _MEDIA and media_type not in INLINE_TYPES
        if is_media and "svg" not in media_type and _SUFFIX.fullmatch(suffix):
            return FileType(media_type, suffix)
    return FileType(UNKNOWN, ".bin")
