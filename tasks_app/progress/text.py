"""Progress in words: one sentence for the page, the live stream and the command line."""

_STEP_CHARS = 80
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def progress_text(
    percent: float | None,
    bytes_done: int | None,
    bytes_total: int | None,
    bytes_per_second: float | None,
    seconds_left: float | None,
    step: str = "",
    usual: str = "",
) -> str:
    """`62 % · ~2 min left · disk 1 of 2 · 19.9 of 32.0 GiB · 110 MB/s`; what is not known is left out.

    What matters most comes first, because a narrow row cuts the end.

    `step` is a part of the remote's own words; `usual` (see `estimate.format_usual`) stands where no percent is
    justified. "" when nothing is known.
    """
    parts = []
    if percent is not None:
        parts.append(f"{int(percent)} %")
    if seconds_left is not None:
        parts.append(format_left(seconds_left))
    # The step first: where a job has several guests, the bytes are those of the current one.
    if step:
        parts.append(step if len(step) <= _STEP_CHARS else step[: _STEP_CHARS - 1] + "…")
    if bytes_done is not None and bytes_total:
        parts.append(format_share(min(bytes_done, bytes_total), bytes_total))
    if bytes_per_second is not None and bytes_per_second >= 1:
        parts.append(format_rate(bytes_per_second))
    if percent is None and usual:
        parts.append(usual)
    return " · ".join(parts)


def format_share(done: int, total: int) -> str:
    """`19.9 of 32.0 GiB`, both in the unit of the total."""
    power = 0
    while total >= 1024 ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    if power == 0:
        return f"{done} of {total} B"
    return f"{done / 1024**power:.1f} of {total / 1024**power:.1f} {_UNITS[power]}"


def format_rate(bytes_per_second: float) -> str:
    """`110 MB/s`: decimal, as disks and networks are sold; one digit after the point below ten."""
    value, unit = bytes_per_second, "B/s"
    for larger in ("kB/s", "MB/s", "GB/s"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B/s" else f"{value:.0f} {unit}"


def format_left(seconds: float) -> str:
    """`~2 min left`, as coarse as a guess is."""
    if seconds < 55:
        tens = max(5, round(seconds / 5) * 5)
        return f"~{tens} s left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"~{max(1, minutes)} min left"
    hours, rest = divmod(minutes, 60)
    return f"~{hours} h {rest} min left" if rest and hours < 24 else f"~{hours} h left"


def generation_text(percent: float | None, step: str = "") -> str:
    """`45 % reported by provider · Rendering frames`: the number is the provider's own and no measure of ours."""
    parts = []
    if percent is not None:
        parts.append(f"{int(percent)} % reported by provider")
    if step := " ".join(step.split()):
        parts.append(step if len(step) <= _STEP_CHARS else step[: _STEP_CHARS - 1] + "…")
    return " · ".join(parts)
