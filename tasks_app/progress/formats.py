"""Log lines that carry numbers, formats A to O of Proxmox VE and Backup Server, old spellings included."""

import re
from collections.abc import Callable
from dataclasses import dataclass

# No line with numbers is longer; a longer one is not searched at all.
_MAX_CHARS = 600

_UNITS = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}

_N = r"\d{1,20}"
_F = r"\d{1,15}(?:\.\d{1,15})?"
_S = rf"{_F} ?(?:[KMGTPE]iB|B)"
_D = r"\d{1,9}[wdhms](?: \d{1,9}[wdhms]){0,4}"


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of one line. `kind` is the letter of the format, with a digit where one letter has several lines.

    A copy of one disk · B block job (mirror, stream, commit) · D running backup · E backup of a template ·
    F restore of an archive · G restore of one disk from Backup Server · H memory of a live migration ·
    I1 dd · I2 size of a zfs stream · I3 sent of it · J memory of a snapshot · K container to Backup Server ·
    L download · M share of a Backup Server job · N1, N2 phases of garbage collection, N0 not named · O datastore.
    """

    kind: str
    percent: float | None = None
    done: int | None = None
    total: int | None = None
    job: str = ""
    is_ready: bool = False
    note: str = ""


def parse_size(text: str) -> int | None:
    """Bytes of `18.9 GiB`, `84.4G`, `512 B`, `1024`; units are powers of 1024."""
    match = re.fullmatch(rf"({_F}) ?([KMGTPE]?)(?:iB|B)?", text.strip()[:60])
    return int(float(match[1]) * 1024 ** _UNITS[match[2]]) if match else None


def parse_duration(text: str) -> int | None:
    """Seconds of `1w 2d 3h 4m 5s`; parts that are zero are left out."""
    if not re.fullmatch(_D, text[:80]):
        return None
    return sum(int(part[:-1]) * _SECONDS[part[-1]] for part in text.split(" "))


def disk_of_job(job: str) -> str:
    """`scsi0` for the block jobs `drive-scsi0`, `mirror-scsi0`, `restore-drive-scsi0`, …"""
    changed = True
    while changed:
        changed = False
        for prefix in ("restore-", "mirror-", "stream-", "commit-", "drive-"):
            if job.startswith(prefix) and len(job) > len(prefix):
                job, changed = job[len(prefix) :], True
    return job


def _percent(text: str) -> float:
    return min(100.0, float(text))


def _share(done: int, total: int) -> float | None:
    return min(100.0, 100.0 * done / total) if total > 0 else None


def _copy(kind: str, job: str, match: re.Match[str]) -> Progress:
    return Progress(
        kind,
        percent=_percent(match["p"]),
        done=parse_size(match["done"]),
        total=parse_size(match["total"]),
        job=job,
        is_ready=kind == "B" and match["end"] is not None and "ready" in match["end"],
    )


def _a(match: re.Match[str]) -> Progress:
    return _copy("A", "", match)


def _b(match: re.Match[str]) -> Progress:
    return _copy("B", disk_of_job(match["job"]), match)


def _ab_old(match: re.Match[str]) -> Progress:
    done, total = int(match["done"]), int(match["total"])
    share = _share(done, total)
    return Progress(
        "B" if match["job"] else "A",
        percent=_percent(match["p"]) if share is None else share,
        done=done,
        total=total,
        job=disk_of_job(match["job"] or ""),
        is_ready=match["ready"] in ("1", "true"),
    )


def _d(match: re.Match[str]) -> Progress:
    return Progress("D", _percent(match[1]), parse_size(match[2]), parse_size(match[3]))


def _counted(kind: str) -> Callable[[re.Match[str]], Progress]:
    def build(match: re.Match[str]) -> Progress:
        return Progress(kind, _percent(match[1]), int(match[2]), int(match[3]))

    return build


def _read(kind: str) -> Callable[[re.Match[str]], Progress]:
    def build(match: re.Match[str]) -> Progress:
        return Progress(kind, _percent(match[1]), int(match[2]))

    return build


def _h(match: re.Match[str]) -> Progress:
    done, total = parse_size(match[1]) or 0, parse_size(match[2]) or 0
    return Progress("H", _share(done, total), done, total)


def _h_old(match: re.Match[str]) -> Progress:
    remaining, total = int(match[2]), int(match[3])
    done = max(0, total - remaining)
    return Progress("H", _share(done, total), done, total)


def _l(match: re.Match[str]) -> Progress:
    return Progress("L", _percent(match[2]), int(match[1]) * 1024)


def _m(match: re.Match[str]) -> Progress:
    return Progress("M", _percent(match[1]), note=match[2].rstrip(")"))


def _n(kind: str) -> Callable[[re.Match[str]], Progress]:
    def build(match: re.Match[str]) -> Progress:
        return Progress(kind, _percent(match[1]), note=match[2])

    return build


def _n_old(match: re.Match[str]) -> Progress:
    return Progress(f"N{match[1] or 0}", _percent(match[2]))


# Each pattern is tried from the start of a line without time stamp; the word must occur in the line, which keeps
# the cost of the many lines without numbers low.
_FORMATS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Progress]], ...] = tuple(
    (word, re.compile(pattern), build)
    for word, pattern, build in (
        (
            "VM-state",
            rf"migration \w{{1,20}}, transferred ({_S})(?: \(\+ {_S} VFIO-state\))? of ({_S}) VM-state",
            _h,
        ),
        (
            "migration status",
            rf"migration status: \w{{1,20}} \(transferred ({_N}), remaining ({_N})\), total ({_N})\)",
            _h_old,
        ),
        (
            "transferred",
            rf"\s{{0,4}}transferred (?P<done>{_S}) of (?P<total>{_S}) \((?P<p>{_F})%\)$",
            _a,
        ),
        (
            "transferred",
            rf"(?P<job>[\w.-]{{1,80}}): transferred (?P<done>{_S}) of (?P<total>{_S}) \((?P<p>{_F})%\)"
            rf"(?: in {_D})?(?P<end>, [\w ,]{{1,40}})?$",
            _b,
        ),
        (
            "progression",
            rf"(?:(?P<job>[\w.-]{{1,80}}): )?transferred: (?P<done>{_N}) bytes remaining: {_N} bytes"
            rf" total: (?P<total>{_N}) bytes progression: (?P<p>{_F}) %"
            rf"(?: busy: \w{{1,8}} ready: (?P<ready>\w{{1,8}}))?",
            _ab_old,
        ),
        ("% (", rf"INFO: {{0,8}}({_F})% \(({_S}) of ({_S})\) in ", _d),
        ("status: ", rf"INFO: status: ({_F})% \(({_N})/({_N})\)", _counted("D")),
        ("progress ", rf"INFO: progress ({_F})% ({_N})/({_N}) {_N}", _counted("E")),
        ("progress ", rf"progress ({_F})% \(read ({_N}) bytes, zeroes = ", _read("G")),
        ("progress ", rf"progress ({_F})% \(read ({_N}) bytes, duration ", _read("F")),
        (
            " copied, ",
            rf"({_N}) bytes (?:\([^)]{{1,40}}\) )?copied, {_F} s",
            lambda match: Progress("I1", done=int(match[1])),
        ),
        (
            "estimated size is",
            rf"total estimated size is ({_F}[KMGTPE]?B?)\s*$",
            lambda match: Progress("I2", total=parse_size(match[1])),
        ),
        (
            "@",
            rf"\d\d:\d\d:\d\d\s{{1,20}}({_F}[KMGTPE]?B?)\s{{1,20}}\S{{1,255}}@\S{{1,255}}\s*$",
            lambda match: Progress("I3", done=parse_size(match[1])),
        ),
        (" in ", rf"({_S}) in ({_D})$", lambda match: Progress("J", done=parse_size(match[1]))),
        (
            "processed ",
            rf"INFO: processed ({_F} \w{{1,3}}) in .{{1,60}}, uploaded {_F} \w{{1,3}}",
            lambda match: Progress("K", done=parse_size(match[1])),
        ),
        ("K ", rf" {{0,12}}({_N})K[ .,]{{1,200}}?({_F})% ", _l),
        ("ercentage done", rf"[Pp]ercentage done: ({_F})% \(([^)]{{0,200}})", _m),
        (
            "ercentage done",
            rf"[Pp]ercentage done: (?:phase ?([12]):? )?({_F})",
            _n_old,
        ),
        ("marked ", rf"marked ({_F})% \(({_N} of {_N} index files)\)", _n("N1")),
        ("processed ", rf"processed ({_F})% \(({_N} chunks)\)", _n("N2")),
        (
            "Chunkstore create",
            rf"Chunkstore create: ({_F})%",
            lambda match: Progress("O", _percent(match[1])),
        ),
    )
)


def parse_progress(line: str) -> Progress | None:
    """Numbers of `line` (printable, without time stamp: `logtext.searched`), or None.

    Whether they are numbers of the task at hand depends on its type: the wiping of a
    disk prints `dd` lines too.
    """
    if len(line) > _MAX_CHARS:
        return None
    for word, pattern, build in _FORMATS:
        if word in line and (match := pattern.match(line)):
            return build(match)
    return None
