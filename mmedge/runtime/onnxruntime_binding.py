"""An ONNX Runtime session some of whose outputs are written where their inputs are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmedge.optional import require
from mmedge.tensors import Array


class BoundSession:
    """Runs a session on buffers that stay where they are from one call to the next.

    shared: input -> the output that is written into the same buffer.
    buffers: by input; numpy arrays, which the session reads and writes without a copy.
    """

    def __init__(
        self, session: Any, shared: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> None:
        ort = require("onnxruntime")
        self._session = session
        self._binding = session.io_binding()
        outputs = [node.name for node in session.get_outputs()]
        self._others = [name for name in outputs if name not in shared.values()]
        self._names = [*shared.values(), *self._others]
        self._values = {  # an OrtValue does not keep its array alive in every version
            name: (ort.OrtValue.ortvalue_from_numpy(array), array)
            for name, array in buffers.items()
        }
        for taken, given in shared.items():
            value, _ = self._values[taken]
            self._binding.bind_ortvalue_input(taken, value)
            self._binding.bind_ortvalue_output(given, value)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs that are not shared; `feeds` are the inputs that are not."""
        for name, array in feeds.items():
            self._binding.bind_cpu_input(name, array)
        for name in self._others:  # again at every call: its size may have changed
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        values = zip(self._names, self._binding.get_outputs(), strict=True)
        return {name: value.numpy() for name, value in values if name in self._others}
