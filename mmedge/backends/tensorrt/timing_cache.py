"""What a builder measured of layers, kept on disk: the next build of similar layers is faster.

`tensorrt` times its kernels on the GPU of this machine; `tensorrt_rtx` times none, and keeps none.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from mmedge.errors import OutputError
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.storage import atomic_file


def timing_file(library: TensorRT, directory: Path, compute_capability: str | None) -> Path | None:
    """Where the timings of this library and GPU are kept; None for a library that has none."""
    if library.name != "tensorrt":
        return None
    gpu = (compute_capability or "local").replace(".", "")
    return directory / "timings" / f"{library.name}-{library.version}-sm{gpu}.cache"


def use_timings(config: Any, file: Path) -> None:
    """Have `config` read and add to the timings in `file`; those of another GPU are not taken."""
    kept = b""
    with suppress(OSError):
        kept = file.read_bytes()
    cache = config.create_timing_cache(kept)
    if kept and not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")  # of another driver or GPU: begin anew
        config.set_timing_cache(cache, ignore_mismatch=False)
    elif not kept:
        config.set_timing_cache(cache, ignore_mismatch=False)


def keep_timings(config: Any, file: Path) -> None:
    """Write what `config` measured; where the disk takes nothing, the next build takes longer."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    with suppress(OSError, OutputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as stream:
            stream.write(memoryview(cache.serialize()))
