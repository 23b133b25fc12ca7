"""Films for models that take several frames at once: a camera that moves over a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

FRAMES = "num_frames"
# How much of the photograph is to be seen at once, of its width.
SEEN = 0.75


def frames_of(config: Mapping[str, Any]) -> int | None:
    """How many frames the model takes by its config; None where it takes no films."""
    vision = config.get("vision_config")
    tables = [vision if isinstance(vision, Mapping) else {}, config]
    found = [table[FRAMES] for table in tables if isinstance(table.get(FRAMES), int)]
    return int(found[0]) if found and found[0] > 0 else None


def film_over(image: Image.Image, frames: int) -> list[Image.Image]:
    """The camera's pictures from the left edge to the right one."""
    width = max(1, int(image.width * SEEN))
    step = (image.width - width) / max(1, frames - 1)
    starts = [int(number * step) for number in range(frames)]
    return [image.crop((left, 0, left + width, image.height)) for left in starts]
