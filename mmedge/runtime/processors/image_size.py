"""How large an image becomes: the rules for output sizes, each with its upstream rounding.

Facts of transformers 5.23 (`image_transforms`, `image_utils` and the models' own files): which
value is rounded, and how, decides single pixels and so the number of tokens. Sizes are
(height, width).
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from mmedge.errors import InputError

Positive = Annotated[int, msgspec.Meta(gt=0)]
Size = tuple[int, int]


class ImageSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Upstream's `size`: exact, by one edge, by both edges, or by the largest height and width."""

    height: Positive | None = None
    width: Positive | None = None
    shortest_edge: Positive | None = None
    longest_edge: Positive | None = None
    max_height: Positive | None = None
    max_width: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse a size that says nothing."""
        pairs = ((self.height, self.width), (self.max_height, self.max_width))
        if not (self.shortest_edge or self.longest_edge or any(all(pair) for pair in pairs)):
            raise ValueError("a size needs height and width, an edge, or max_height and max_width")

    def exact(self) -> Size:
        """(height, width) where it is exact, else a square of the shortest edge."""
        if self.height and self.width:
            return self.height, self.width
        edge = self.shortest_edge or self.longest_edge or 1
        return edge, edge

    def of(self, height: int, width: int) -> Size:
        """The size that an image of height x width is resized to."""
        if self.shortest_edge and self.longest_edge:
            return within_edges(
                height, width, shortest=self.shortest_edge, longest=self.longest_edge
            )
        if self.shortest_edge:
            return by_shortest_edge(height, width, edge=self.shortest_edge)
        if self.max_height and self.max_width:
            scale = min(self.max_height / height, self.max_width / width)
            return int(height * scale), int(width * scale)
        return self.exact()


def by_shortest_edge(height: int, width: int, *, edge: int) -> Size:
    """The shorter edge becomes `edge`, the longer one keeps the aspect, rounded down."""
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def within_edges(height: int, width: int, *, shortest: int, longest: int) -> Size:
    """The shorter edge becomes `shortest`, less where the longer one would exceed `longest`."""
    short, long = float(min(height, width)), float(max(height, width))
    exact = float(shortest)
    if long / short * shortest > longest:
        exact = longest * short / long
        shortest = round(exact)
    if min(height, width) == shortest:
        return height, width
    if width < height:
        return int(exact * height / width), shortest
    return shortest, int(exact * width / height)


def divisible_within_edges(height: int, width: int, *, shortest: int, divisor: int) -> Size:
    """ViLT's rule: edges up to 1333/800 of each other, rounded, then down to the divisor."""
    longest = int(1333 / 800 * shortest)
    scale = shortest / min(height, width)
    new_height = float(shortest) if height < width else scale * height
    new_width = scale * width if height < width else float(shortest)
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = scale * new_height, scale * new_width
    rows, columns = int(new_height + 0.5) // divisor, int(new_width + 0.5) // divisor
    return rows * divisor, columns * divisor


def near_pixel_count(height: int, width: int, *, factor: int, least: int, most: int) -> Size:
    """Qwen2-VL's rule: both edges multiples of `factor`, between `least` and `most` pixels."""
    if max(height, width) / min(height, width) > 200:
        raise InputError(
            "the image is too narrow for this model",
            found=f"{width} x {height} pixels",
            expected="one edge at most 200 times the other",
        )
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > most:
        beta = math.sqrt((height * width) / most)
        rows = max(factor, math.floor(height / beta / factor) * factor)
        columns = max(factor, math.floor(width / beta / factor) * factor)
    elif rows * columns < least:
        beta = math.sqrt(least / (height * width))
        rows = math.ceil(height * beta / factor) * factor
        columns = math.ceil(width * beta / factor) * factor
    return rows, columns


def by_longest_edge(height: int, width: int, *, edge: int, most: int) -> Size:
    """Idefics3's rule: the longer edge becomes `edge`, the other one even; at most `most`."""
    aspect = width / height
    if width >= height:
        width, height = edge, int(edge / aspect)
        height += height % 2
    else:
        height, width = edge, int(edge * aspect)
        width += width % 2
    height, width = max(height, 1), max(width, 1)
    if max(height, width) <= most:
        return height, width
    aspect = width / height
    if width >= height:
        return max(int(most / aspect), 1), most
    return most, max(int(most * aspect), 1)


def multiple_of(height: int, width: int, *, edge: int) -> Size:
    """Idefics3's rule before tiling: multiples of `edge`, the longer one first."""
    aspect = width / height
    if width >= height:
        width = math.ceil(width / edge) * edge
        return math.ceil(int(width / aspect) / edge) * edge, width
    height = math.ceil(height / edge) * edge
    return height, math.ceil(int(height * aspect) / edge) * edge


def clipped_edges(height: int, width: int, *, shortest: int, longest: int) -> Size:
    """Idefics2's rule: the longer edge at most `longest`, then both at least `shortest`."""
    aspect = width / height
    if width >= height and width > longest:
        height, width = int(longest / aspect), longest
    elif height > width and height > longest:
        height, width = longest, int(longest * aspect)
    return max(height, shortest), max(width, shortest)


def best_resolution(height: int, width: int, candidates: tuple[Size, ...]) -> Size:
    """LLaVA-NeXT's choice: the most of the image kept, and then the least area wasted."""

    def merit(candidate: Size) -> tuple[int, int]:
        rows, columns = candidate
        scale = min(columns / width, rows / height)
        kept = min(int(width * scale) * int(height * scale), height * width)
        return kept, kept - rows * columns

    return max(candidates, key=merit)


def inside(height: int, width: int, *, frame: Size) -> Size:
    """The largest size of the same aspect inside the frame, rounded up (LLaVA-NeXT)."""
    rows, columns = frame
    if columns / width < rows / height:
        return min(math.ceil(height * (columns / width)), rows), columns
    return rows, min(math.ceil(width * (rows / height)), columns)


def nearest_grid(height: int, width: int, *, tile: Size, least: int, most: int) -> Size:
    """InternVL's choice: (rows, columns) of tiles whose aspect is nearest to the image's.

    Of equally near ones the larger, up to twice the image's area.
    """
    sides = range(1, most + 1)
    grids = [(c, r) for c in sides for r in sides if least <= c * r <= most]
    best, nearest = (1, 1), math.inf
    for columns, rows in sorted(grids, key=math.prod):  # stable, as upstream's order
        distance = abs(width / height - columns / rows)
        roomy = height * width > 0.5 * tile[0] * tile[1] * columns * rows
        if distance < nearest or (distance == nearest and roomy):
            best, nearest = (rows, columns), distance
    return best


def at_most_patches(height: int, width: int, *, patch: int, most: int) -> Size:
    """SigLIP 2's rule: multiples of `patch`, the largest of at most `most` patches.

    The scale is found by upstream's bisection, whose last step decides near a boundary.
    """

    def scaled(scale: float) -> Size:
        rows, columns = (max(1, math.ceil(edge * scale / patch)) for edge in (height, width))
        return rows * patch, columns * patch

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        rows, columns = scaled(middle)
        fits = (rows / patch) * (columns / patch) <= most
        low, high = (middle, high) if fits else (low, middle)
    return scaled(low)
