"""A number of bytes as people read it, in messages of every layer."""

from __future__ import annotations

UNITS = ("kB", "MB", "GB")
LARGEST_UNIT = "TB"


def readable_bytes(count: float) -> str:
    """Three digits and a decimal unit: 812 B, 28.7 kB, 12.9 GB, 1,880 TB."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in UNITS:
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    count /= 1000
    return f"{count:,.3g} {LARGEST_UNIT}" if count < 999.5 else f"{count:,.0f} {LARGEST_UNIT}"
