"""Tables, lists and sizes for a person, as lines of text."""

from __future__ import annotations

from llava_ecg.checkpoint.fit import LISTED


def aligned(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    """Columns as wide as their widest entry, those of `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [
            f"{text:>{width}}" if at in right else f"{text:<{width}}"
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return ["  ".join(row).rstrip() for row in cells]


def listed(label: str, names: tuple[str, ...]) -> list[str]:
    """The first of a list under its label, and how many more there are."""
    if not names:
        return []
    more = [f"  and {len(names) - LISTED:,} more"] if len(names) > LISTED else []
    return [f"{label}: {len(names):,}", *(f"  {name}" for name in names[:LISTED]), *more]


def size(size: int) -> str:
    """Bytes for a person; 1 MB is 10^6."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:,.2f} {unit}"
    return f"{size} bytes" if size else "-"
