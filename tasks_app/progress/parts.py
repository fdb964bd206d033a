"""A copy made of several parts (disks, volumes) of different sizes: which are known, how much of all is done."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# More disks than a guest can have would only be noise of a hostile log.
MAX_PARTS = 64
_MAX_NAME = 40
# A part as small as this (EFI variables, TPM state) says nothing about a guest whose other disks are not known.
TINY_BYTES = 64 * 1024**2
_MAX_BYTES = 2**63


@dataclass(slots=True)
class Part:
    """One disk or volume. `total` in bytes, None while unknown; `share` is 0 to 1, None without any number."""

    name: str = ""
    total: int | None = None
    share: float | None = None
    done: int = 0
    is_closed: bool = False
    is_estimate: bool = False

    def close(self) -> None:
        self.share = 1.0
        self.is_closed = True
        if self.total is not None:
            self.done = self.total


def known_sizes(disk_bytes: Sequence[int] | Mapping[str, int]) -> dict[str, int]:
    """Sizes by disk name; a plain sequence gets the names "#0", "#1", … in its order."""
    pairs: list[tuple[str, int]] = (
        list(disk_bytes.items())
        if isinstance(disk_bytes, Mapping)
        else [(f"#{index}", size) for index, size in enumerate(disk_bytes)]
    )
    return {str(name)[:_MAX_NAME]: min(int(size), _MAX_BYTES) for name, size in pairs[:MAX_PARTS] if size > 0}


@dataclass(slots=True)
class Parts:
    """Parts seen so far and sizes known beforehand. `expected` is how many parts there will be, 0 if unknown."""

    sizes: dict[str, int] = field(default_factory=dict)
    expected: int = 0
    is_single: bool = False
    seen: list[Part] = field(default_factory=list)
    # set when the log began in the middle: what comes earlier in order is then done
    is_head_missing: bool = False

    @property
    def current(self) -> Part | None:
        return self.seen[-1] if self.seen else None

    def open(self, name: str = "", total: int | None = None) -> Part:
        """Begin the next part; the list is bounded, so a hostile log reuses the last one."""
        if len(self.seen) >= MAX_PARTS:
            return self.seen[-1]
        part = Part(name[:_MAX_NAME], total)
        self.seen.append(part)
        return part

    def named(self, name: str) -> Part:
        """The part of that name, begun if it is new."""
        for part in self.seen:
            if part.name == name[:_MAX_NAME]:
                return part
        return self.open(name)

    def close_all(self) -> None:
        for part in self.seen:
            part.close()

    def size_ahead(self, name: str) -> int | None:
        """Size of a part about to begin: by its name, else the next size in order."""
        if name in self.sizes:
            return self.sizes[name]
        pending = self.pending()
        anonymous = [pending[key] for key in pending if key.startswith("#")]
        return anonymous[0] if anonymous else None

    def pending(self) -> dict[str, int]:
        """Known sizes no seen part accounts for yet, in order."""
        left = dict(self.sizes)
        last_matched = -1
        order = list(self.sizes)
        for part in self.seen:
            key = part.name if part.name in left else _match(part.total, left)
            if key is not None:
                del left[key]
                last_matched = max(last_matched, order.index(key))
        if self.is_head_missing:
            left = {key: size for key, size in left.items() if order.index(key) > last_matched}
        return left

    def bytes_before_head(self) -> int:
        """Sizes of parts that were done before the log at hand begins."""
        if not self.is_head_missing or not any(part.total for part in self.seen):
            return 0
        accounted = self.pending()
        self.is_head_missing = False
        earlier = {key: size for key, size in self.pending().items() if key not in accounted}
        self.is_head_missing = True
        return sum(earlier.values())

    @property
    def count(self) -> int:
        """How many parts there are, as far as known; at least those seen."""
        known = sum(part.total is not None or part.name in self.sizes for part in self.seen)
        return max(known + len(self.pending()), self.expected, len(self.seen))

    def position(self) -> int:
        """Which part is worked on, counted from 1."""
        return min(self.count, max(1, len(self.seen)))

    def amounts(self, *, ignore_pending: bool = False) -> tuple[float, float] | None:
        """(done, total) in bytes, or in parts when sizes are missing; None when no share is justified."""
        if not self.seen:
            return None
        if any(part.total is None and part.share is not None for part in self.seen):
            return self._by_count()
        sizes = [part.total if part.total is not None else self.sizes.get(part.name) for part in self.seen]
        sized = [
            (size, part.share or 0.0) for size, part in zip(sizes, self.seen, strict=True) if size is not None
        ]
        if not any(part.total is not None for part in self.seen):
            return self._by_count() if self.expected > 1 and self.seen[0].done else None
        if self._is_only_tiny([size for size, _ in sized]):
            return None
        if len(sized) < len(self.seen) and not self.sizes and not self.expected:
            return None  # a further disk has begun and nothing tells how large it is
        before = self.bytes_before_head()
        total = float(sum(size for size, _ in sized)) + before
        done = sum(size * share for size, share in sized) + before
        if not ignore_pending:
            ahead = self._bytes_ahead([size for size, _ in sized])
            if ahead is None:
                return None
            total += ahead
        return (done, total) if total else (sum(share for _, share in sized), len(sized))

    def _is_only_tiny(self, sizes: list[int]) -> bool:
        return not self.sizes and not self.is_single and self.expected != 1 and max(sizes) <= TINY_BYTES

    def _bytes_ahead(self, seen: list[int]) -> float | None:
        """Bytes of parts not seen yet: their known sizes, else as many times the usual one as parts are expected."""
        missing = self.expected - len(seen)
        if self.sizes or missing <= 0:
            return sum(self.pending().values())
        large = [size for size in seen if size > TINY_BYTES]
        return missing * sum(large) / len(large) if large else None

    def _by_count(self) -> tuple[float, float] | None:
        count = max(self.expected, len(self.sizes))
        if count == 0 or (count == 1 and self.seen[0].share in (None, 0.0)):
            return None
        return sum(part.share or 0.0 for part in self.seen), max(count, len(self.seen))

    def to_state(self) -> dict[str, Any]:
        """JSON-able; at most MAX_PARTS parts. Also read by `from_state`."""
        return {
            "sizes": self.sizes,
            "expected": self.expected,
            "single": self.is_single,
            "headless": self.is_head_missing,
            "seen": [list(asdict(part).values()) for part in self.seen],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Parts":
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        parts = cls(
            sizes={str(name): int(size) for name, size in dict(state["sizes"]).items()},
            expected=int(state["expected"]),
            is_single=bool(state["single"]),
            is_head_missing=bool(state["headless"]),
        )
        for name, total, share, done, is_closed, is_estimate in list(state["seen"])[:MAX_PARTS]:
            parts.seen.append(
                Part(
                    str(name),
                    None if total is None else int(total),
                    None if share is None else min(1.0, max(0.0, float(share))),
                    int(done),
                    bool(is_closed),
                    bool(is_estimate),
                )
            )
        return parts


def _match(total: int | None, sizes: dict[str, int]) -> str | None:
    """The known size a seen total stands for. The log rounds to one decimal, and an EFI disk of 528 KiB is
    4 MiB in the configuration; a disk that fits none leaves the known ones alone."""
    anonymous = {key: size for key, size in sizes.items() if key.startswith("#")}
    if not anonymous or total is None:
        return None
    nearest = min(anonymous, key=lambda key: abs(anonymous[key] - total))
    if abs(anonymous[nearest] - total) <= 0.06 * total:
        return nearest
    first = next(iter(anonymous))
    both_tiny = anonymous[first] <= TINY_BYTES and total <= TINY_BYTES
    return first if both_tiny or 0.5 <= anonymous[first] / max(1, total) <= 2 else None
