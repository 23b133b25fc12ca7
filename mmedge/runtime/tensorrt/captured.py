"""CUDA graphs of calls that are repeated with the same shapes and the same memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from mmedge.runtime.device.protocol import Device, Graph, Stream


class Captured:
    """Launches what was captured; what is new is done first, and captured when it comes again.

    TensorRT wants a call with new shapes to be made once before it is captured. Graphs of other
    shapes are given up: they may hold scratch memory that is another's by now.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._shapes: Hashable = None
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, Graph | None] = {}

    def run(
        self, work: Callable[[], None], stream: Stream, *, shapes: Hashable, addresses: Hashable
    ) -> None:
        """Do `work`, which depends on nothing but the shapes and the addresses, on `stream`."""
        if shapes != self._shapes:
            self.forget()
            self._shapes = shapes
        if addresses in self._seen and addresses not in self._graphs:
            self._graphs[addresses] = self._device.capture(stream, work)
        graph = self._graphs.get(addresses)
        self._seen.add(addresses)
        if graph is None:
            work()
        else:
            graph.launch(stream)

    def forget(self) -> None:
        """Give the graphs back."""
        for graph in self._graphs.values():
            if graph is not None:
                graph.close()
        self._graphs.clear()
        self._seen.clear()
