"""An image processor's file as the table of one of our image methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmedge.checkpoint.processor_defaults import ALL, IMAGE_PROCESSORS
from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError

Table = dict[str, Any]
EDGES = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")


def image_table(sources: ProcessorSources, *, several: bool) -> Table:
    """The table of `[image]`; UnsupportedError names what is not known.

    several: the processor puts several images into one example (LLaVA's).
    """
    name = sources.image_class
    if name not in IMAGE_PROCESSORS:
        raise UnsupportedError(
            f"the image processor {name or '(unnamed)'}ImageProcessor is not known to mmedge; "
            f"known: {', '.join(sorted(IMAGE_PROCESSORS))}"
        )
    given = {key: value for key, value in sources.image.items() if value is not None}
    config = {**ALL, **IMAGE_PROCESSORS[name], **given}
    config["of_processor"] = sources.processor
    table = {**_steps(config), **METHODS.get(name, _plain)(config)}
    if several and table["method"] == "plain":
        table["method"] = "plain_several"
    return {key: value for key, value in table.items() if value is not None}


def _steps(config: Table) -> Table:
    """What all methods share. RGB where upstream would refuse other images, too."""
    normalise = config["do_normalize"]
    mean, std = (_floats(config[key]) if normalise else None for key in ("image_mean", "image_std"))
    rgb = bool(config.get("do_convert_rgb")) or (mean is not None and len(mean) == 3)
    factor = float(config["rescale_factor"]) if config["do_rescale"] else None
    resample = int(config["resample"])
    # The default would come back for a missing factor: 1 changes nothing.
    scale = 1.0 if factor is None else factor
    return {"rgb": rgb, "resample": resample, "rescale_factor": scale, "mean": mean, "std": std}


def _plain(config: Table) -> Table:
    if config.get("do_pad") and config.get("pad_size"):
        raise UnsupportedError("padding plain images to a size (do_pad, pad_size) is not supported")
    if config.get("return_codebook_pixels") or config.get("return_image_mask"):
        raise UnsupportedError("FLAVA's codebook pixels and image masks are inputs of its training")
    return {"method": "plain", "size": _size(config), "crop": _crop(config)}


def _llava(config: Table) -> Table:
    return {**_plain(config), "square_first": bool(config.get("do_pad"))}


def _padded(config: Table) -> Table:
    if not config.get("do_pad"):
        return {"method": "plain", "size": _size(config)}
    pad_size = config.get("pad_size")
    return {
        "method": "padded",
        "size": _size(config),
        "crop": _crop(config),
        "divisor": config.get("size_divisor") if config["do_resize"] else None,
        "pad_size": size_table(pad_size, square=True) if pad_size else None,
    }


def _detr(config: Table) -> Table:
    config = {**config, "do_pad": config.get("pad_and_return_pixel_mask", config["do_pad"])}
    if isinstance(config["size"], int):
        longest = int(config.get("max_size", 1333))
        config["size"] = {"shortest_edge": config["size"], "longest_edge": longest}
    return _padded({**config, "size_divisor": None})


def _document(config: Table) -> Table:
    size = config["size"]
    if isinstance(size, list):  # Donut's lists are (width, height)
        size = size[::-1]
    return {
        "method": "document",
        "size": size_table(size, square=True),
        "align_long_axis": bool(config["do_align_long_axis"]),
        "resize": bool(config["do_resize"]),
        "thumbnail": bool(config["do_thumbnail"]),
        "pad": bool(config["do_pad"]),
        "crop": _crop(config),
    }


def _tiles(config: Table) -> Table:
    if not config["do_pad"]:
        raise UnsupportedError("tiles without padding (do_pad: false) do not make one tensor")
    return {
        "method": "tiles",
        "size": _size(config),
        "tile": int(config["max_image_size"]["longest_edge"]),
        "split": bool(config["do_image_splitting"]),
    }


def _quarters(config: Table) -> Table:
    if not config["do_pad"]:
        raise UnsupportedError("parts without padding (do_pad: false) do not make one tensor")
    split = bool(config["do_image_splitting"])
    return {"method": "quarters", "size": _size(config), "split": split}


def _patches(config: Table) -> Table:
    size = size_table(config["size"], square=False)
    return {
        "method": "patches",
        "least_pixels": int(config.get("min_pixels", size.get("shortest_edge", 56 * 56))),
        "most_pixels": int(config.get("max_pixels", size.get("longest_edge", 28 * 28 * 1280))),
        "patch": int(config["patch_size"]),
        "merge": int(config["merge_size"]),
        "repeats": int(config["temporal_patch_size"]),
        "resize": bool(config["do_resize"]),
    }


def _gemma3(config: Table) -> Table:
    if config.get("do_pan_and_scan"):
        raise UnsupportedError("pan and scan (do_pan_and_scan) is not supported")
    return _plain(config)


def _canvas(config: Table) -> Table:
    """InternVL's processor asks for tiles, whatever the file of its image processor says."""
    return {
        "method": "canvas",
        "size": _size(config),
        "least": int(config["min_patches"]),
        "most": int(config["max_patches"]),
    }


def _bounded_patches(config: Table) -> Table:
    return {
        "method": "bounded_patches",
        "patch": int(config["patch_size"]),
        "most": int(config["max_num_patches"]),
        "resize": bool(config["do_resize"]),
    }


def _own_size(config: Table) -> Table:
    """Pixtral's processor asks for edges of whole patches, whatever the image processor's says."""
    if not (config["do_resize"] and config["do_pad"]) or config.get("do_center_crop"):
        raise UnsupportedError("images that are not resized to whole patches and padded")
    size = size_table(config["size"], square=False)
    return {"method": "own_size", "size": size, "divisor": merged_patch(config["of_processor"])}


def merged_patch(processor: Table) -> int:
    """Edge in pixels of what one of Pixtral's tokens stands for."""
    return int(processor.get("patch_size", 16)) * int(processor.get("spatial_merge_size", 1))


def _any_resolution(config: Table) -> Table:
    size = size_table(config["size"], square=False)
    crop = size_table(config["crop_size"], square=True)
    edge = size.get("shortest_edge", 0)
    height = size.get("height", edge)
    return {
        **_plain({**config, "do_pad": False}),
        "method": "any_resolution",
        "resolutions": [list(map(int, pair)) for pair in config["image_grid_pinpoints"]],
        "tile": crop.get("height", height),
        "whole": [height, size.get("width", edge)],
    }


METHODS: dict[str, Callable[[Table], Table]] = {
    "BridgeTower": _padded,
    "ConditionalDetr": _detr,
    "DeformableDetr": _detr,
    "Detr": _detr,
    "Donut": _document,
    "Gemma3": _gemma3,
    "GotOcr2": _canvas,
    "GroundingDino": _detr,
    "Idefics2": _quarters,
    "Idefics3": _tiles,
    "Llava": _llava,
    "LlavaNext": _any_resolution,
    "Pixtral": _own_size,
    "Qwen2VL": _patches,
    "Siglip2": _bounded_patches,
    "SmolVLM": _tiles,
    "Vilt": _padded,
}


def size_table(size: object, *, square: bool) -> dict[str, int]:
    """Upstream's size, however old checkpoints write it, as a dict of edges."""
    if isinstance(size, dict):
        known = {edge: int(size[edge]) for edge in EDGES if size.get(edge) is not None}
        if known:
            return known
    elif isinstance(size, list) and len(size) == 2:
        return {"height": int(size[0]), "width": int(size[1])}
    elif isinstance(size, int):
        return {"height": size, "width": size} if square else {"shortest_edge": size}
    raise UnsupportedError(f"the image size {size!r} is not understood")


def _size(config: Table) -> dict[str, int] | None:
    if not config["do_resize"]:
        return None
    return size_table(config["size"], square=bool(config["default_to_square"]))


def _crop(config: Table) -> dict[str, int] | None:
    return size_table(config["crop_size"], square=True) if config.get("do_center_crop") else None


def _floats(values: object) -> list[float]:
    if not isinstance(values, list):
        raise UnsupportedError(f"image_mean or image_std {values!r} is not a list of numbers")
    return [float(value) for value in values]
