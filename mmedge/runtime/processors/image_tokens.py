"""How many tokens stand for an image in the text, and which text they are written as.

One rule per family, with upstream's arithmetic (the models' `processing_*.py`, transformers
5.23). A rule gives the text that replaces one image token of the prompt.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec

from mmedge.runtime.processors.image_size import Positive, Size, best_resolution
from mmedge.runtime.processors.image_steps import Picture

Count = Annotated[int, msgspec.Meta(ge=0)]


class ImageTokens(Protocol):
    """One rule."""

    def text(self, token: str, picture: Picture) -> str:
        """What replaces the token where the picture stands."""
        ...


class FixedTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "fixed": a count for every tile of an image, and text around. (Florence-2, Gemma 3.)

    token: what is repeated, where it is not the token that holds the place in the prompt.
    """

    count: Count
    before: str = ""
    after: str = ""
    token: str | None = None

    def text(self, token: str, picture: Picture) -> str:
        """The token, `count` times for every tile."""
        return self.before + (self.token or token) * (self.count * picture.tiles) + self.after


class RepeatedTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "repeated": every part of an image between marks of its own. (Idefics2.)"""

    count: Count
    around: str = "<fake_token_around_image>"

    def text(self, token: str, picture: Picture) -> str:
        """The token, `count` times for every part; parts share the mark between them."""
        part = f"{token * self.count}{self.around}"
        return self.around + part * picture.tiles


class GridTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "grid": a token per patch of the processed image. (LLaVA.)

    extra: tokens besides, which may be negative: a class token that is selected away.
    """

    patch: Positive
    extra: int = 0

    def text(self, token: str, picture: Picture) -> str:
        """The token, once for every patch."""
        height, width = picture.processed
        return token * ((height // self.patch) * (width // self.patch) + self.extra)


class MergedTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "merged": a token per `merge` x `merge` patches. (Qwen2-VL.)"""

    merge: Positive

    def text(self, token: str, picture: Picture) -> str:
        """The token, once for every merged patch."""
        rows, columns = picture.grid
        return token * (rows * columns // self.merge**2)


class TileTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "tiles": tiles by row and column, then the whole image. (Idefics3, SmolVLM.)"""

    count: Count
    around: str = "<fake_token_around_image>"
    whole: str = "<global-img>"

    def text(self, token: str, picture: Picture) -> str:
        """Every tile with its place, a line per row of tiles; one tile is the whole image."""
        tokens = token * self.count
        end = f"{self.around}{self.whole}{tokens}{self.around}"
        rows, columns = picture.grid
        if not rows:
            return end
        lines = (
            "".join(
                f"{self.around}<row_{row + 1}_col_{column + 1}>{tokens}"
                for column in range(columns)
            )
            for row in range(rows)
        )
        return "".join(f"{line}\n" for line in lines) + "\n" + end


class LineTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "lines": a token per patch, a mark after each row, another at the end. (Pixtral.)

    patch: edge in pixels of what one token stands for.
    """

    patch: Positive
    line: str = "[IMG_BREAK]"
    end: str = "[IMG_END]"

    def text(self, token: str, picture: Picture) -> str:
        """The token by rows; the last one ends the image instead of the line."""
        height, width = picture.processed
        row = token * (width // self.patch)
        return self.line.join([row] * (height // self.patch)) + self.end


class AnyResolutionTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rule "any_resolution": the whole image, its tiles without padding, line ends. (LLaVA-NeXT.)

    extra: as in "grid". resolutions: those of the image method.
    """

    patch: Positive
    resolutions: tuple[tuple[Positive, Positive], ...]
    extra: int = 0

    def text(self, token: str, picture: Picture) -> str:
        """The token, once for every feature that the model keeps."""
        height, width = picture.processed
        rows, columns = height // self.patch, width // self.patch
        frame = best_resolution(*picture.original, self.resolutions)
        kept = _unpadded((rows * (frame[0] // height), columns * (frame[1] // width)), picture)
        return token * (kept[0] * kept[1] + kept[0] + rows * columns + self.extra)


def _unpadded(grid: Size, picture: Picture) -> Size:
    """Rows and columns of features left where the padding around the image is cut off."""
    height, width = picture.original
    rows, columns = grid
    if width / height > columns / rows:
        new_rows = int(round(height * (columns / width), 7))
        return rows - (rows - new_rows) // 2 * 2, columns
    new_columns = int(round(width * (rows / height), 7))
    return rows, columns - (columns - new_columns) // 2 * 2
