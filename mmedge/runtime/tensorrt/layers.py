"""The layers of an engine, which only its library on its GPU can tell."""

from __future__ import annotations

import json
from pathlib import Path

from mmedge.runtime.tensorrt.deserialise import deserialise
from mmedge.runtime.tensorrt.header import read_header


def layer_names(path: Path) -> list[str]:
    """Names of the layers of the engine at `path`, in order. Raises what deserialising raises."""
    parts = deserialise(read_header(path), path)
    engine, module = parts.engine, parts.library.module
    try:
        with parts.device.active():
            inspector = engine.create_engine_inspector()
            told = inspector.get_engine_information(module.LayerInformationFormat.JSON)
    finally:
        parts.device.close()
    # Names alone, or tables that have one: as detailed as the engine was built to be.
    layers = json.loads(told).get("Layers", [])
    return [layer["Name"] if isinstance(layer, dict) else str(layer) for layer in layers]
