"""What a file is, by its first bytes alone."""

import random

import pytest

from tasks_app.ingest.sniffing import HEAD_BYTES, INLINE_TYPES, UNKNOWN, sniff

SHOWN = {
    b"\0\0\0\x18ftypisom\0\0\2\0": ("video/mp4", ".mp4"),
    b"\0\0\0\x18ftypmp42\0\0\2\0": ("video/mp4", ".mp4"),
    b"\0\0\0\x14ftypqt  \0\0\2\0": ("video/quicktime", ".mov"),
    b"\0\0\x10\0moov\0\0\0lmvhd": ("video/quicktime", ".mov"),
    b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm": ("video/webm", ".webm"),
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": ("image/png", ".png"),
    b"\xff\xd8\xff\xe0\0\x10JFIF": ("image/jpeg", ".jpg"),
    b"RIFF\x24\0\0\0WEBPVP8 ": ("image/webp", ".webp"),
    b"GIF89a\1\0\1\0": ("image/gif", ".gif"),
    b"\0\0\0\x1cftypavif\0\0\0\0": ("image/avif", ".avif"),
    b"RIFF\x24\0\0\0WAVEfmt ": ("audio/wav", ".wav"),
    b"ID3\4\0\0\0\0\0\0": ("audio/mpeg", ".mp3"),
    b"\xff\xfb\x90\x64\0\0\0\0": ("audio/mpeg", ".mp3"),
    b"fLaC\0\0\0\x22": ("audio/flac", ".flac"),
    b"OggS\0\2" + bytes(22) + b"\1\x1e\1vorbis": ("audio/ogg", ".ogg"),
    b"OggS\0\2" + bytes(22) + b"\1*\x80theora": ("video/ogg", ".ogv"),
}


@pytest.mark.parametrize("head", SHOWN, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(SHOWN.values())])
def test_what_browsers_may_show(head):
    found = sniff(head + bytes(2000))
    assert (found.media_type, found.suffix) == SHOWN[head]
    assert found.media_type in INLINE_TYPES


TEXTS = {
    b"<!DOCTYPE html><html>": "html",
    b"\xef\xbb\xbf\r\n <HTML><body onload=x()>": "html",
    b"<!-- a --><script>alert(1)</script>": "html",
    "<html>".encode("utf-16"): "html",
    b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>": "html",
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>": "svg",
    b"<?xml version='1.0'?><!-- made by <html> --><svg/>": "svg",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x:svg xmlns:x='y'/>": "xml",
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>": "xml",
    b'{"error": {"message": "no"}}': "json",
    b'[{"error": 1}, ' + b"1, " * HEAD_BYTES: "json",
    b"Internal Server Error": "text",
    "Zugriff verweigert: größer".encode("latin-1"): "text",
}


@pytest.mark.parametrize("head", TEXTS, ids=[f"{n}-{text}" for n, text in enumerate(TEXTS.values())])
def test_texts_are_only_downloaded_and_known_as_texts(head):
    found = sniff(head)
    assert (found.media_type, found.text) == (UNKNOWN, TEXTS[head])
    assert found.suffix in (".bin", ".json", ".txt")


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", ".pdf"),
        (b"PK\3\4\x14\0\0\0\x08\0", ".zip"),
        (b"glTF\2\0\0\0", ".glb"),
        (b"MZ\x90\0" + bytes(60), ".bin"),
        (b"\x7fELF\2\1\1\0", ".bin"),
        (b"\xff\xff\xff\xff", ".bin"),
        (b"\0" * 100, ".bin"),
        (b"", ".bin"),
        (b"\0\0\0\0moov", ".bin"),
    ],
)
def test_everything_else_is_unknown(head, suffix):
    found = sniff(head)
    assert (found.media_type, found.suffix, found.text) == (UNKNOWN, suffix, "")


@pytest.mark.parametrize(
    ("head", "media_type"),
    [(b"\x1aE\xdf\xa3\x93B\x82\x88matroska", "video/x-matroska"), (b"FORM\0\0\0\0AIFF", "audio/x-aiff")],
    ids=["matroska", "aiff"],
)
def test_other_films_and_sounds_keep_their_type_but_are_not_shown(head, media_type):
    assert sniff(head).media_type == media_type
    assert media_type not in INLINE_TYPES


def test_no_bytes_at_all_upset_it():
    chance = random.Random(7)
    starts = [*SHOWN, *TEXTS]
    for _ in range(1500):
        start = chance.choice(starts)[: chance.randrange(12)]
        found = sniff(start + chance.randbytes(chance.randrange(40)))
        assert found.media_type
        assert found.suffix.startswith(".")
        assert "svg" not in found.media_type and "html" not in found.media_type
