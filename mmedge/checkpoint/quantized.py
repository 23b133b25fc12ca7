"""Checkpoints that are quantized already: named, and refused with the way out.

transformers 5.23 computes none of them back on a CPU without further libraries (fp8 and mxfp4
need accelerate, the others the library that made them).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmedge.errors import CheckpointError


def quantization_method(config: dict[str, Any]) -> str | None:
    """How the checkpoint is quantized, as its config.json calls it; None where it is not."""
    found = config.get("quantization_config")
    if not found:
        return None
    if not isinstance(found, dict):
        return str(found)
    bits = [name for name in ("load_in_4bit", "load_in_8bit") if found.get(name)]
    return str(found.get("quant_method") or ("bitsandbytes" if bits else "unknown"))


def check_quantization(config: dict[str, Any], where: Path) -> None:
    """Raise CheckpointError, naming the method, where the checkpoint is quantized."""
    method = quantization_method(config)
    if method is None:
        return
    raise CheckpointError(
        "the checkpoint is already quantized",
        found=_described(method, config["quantization_config"]),
        expected="weights in floating point",
        where=where,
        hint="give mmedge the checkpoint that it was made from: mmedge quantizes by itself;\n"
        "or, where the method's own library is installed:\n"
        "model.dequantize() and model.save_pretrained(DIRECTORY)",
    )


def _described(method: str, found: object) -> str:
    """The method, and how many bits where the config says so."""
    if not isinstance(found, dict):
        return method
    bits = found.get("bits") or found.get("w_bit")
    bits = bits or next((b for b in (4, 8) if found.get(f"load_in_{b}bit")), None)
    return f"{method}, {bits} bits" if bits else method
