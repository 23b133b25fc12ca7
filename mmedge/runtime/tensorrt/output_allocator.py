"""Room for outputs whose size is known only once they are computed (NonZero, Where, NMS)."""

from __future__ import annotations

from typing import Any

from mmedge.runtime.device.staging import Staging


def make_output_allocator(module: Any, staging: Staging) -> Any:
    """An IOutputAllocator that puts one output into `staging`.

    Its `shape` is that of the output, after the call; its `failure` what went wrong, to be raised
    after TensorRT has returned: nothing may be thrown through it.
    """

    class OutputAllocator(module.IOutputAllocator):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            module.IOutputAllocator.__init__(self)
            self.shape: tuple[int, ...] = ()
            self.failure: BaseException | None = None

        def reallocate_output(self, _name: str, _memory: int, size: int, _alignment: int) -> int:
            """The address, or 0: there is none. Every block is aligned to more than is asked."""
            try:
                return staging.address(size)
            except BaseException as failure:
                self.failure = failure
                return 0

        def reallocate_output_async(
            self, name: str, memory: int, size: int, alignment: int, _stream: int
        ) -> int:
            """As of TensorRT 10: the same, on a stream; the address is good on every one."""
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, _name: str, shape: Any) -> None:
            self.shape = tuple(int(size) for size in shape)

    return OutputAllocator()
