"""The least time a case can take on this device: arithmetic, bytes, exponentials.

Peaks are measured in the same run: the arithmetic of a large matrix product, the bandwidth of a
large copy. Exponentials are counted against the special-function units, 16 results a clock and
multiprocessor (CUDA C++ programming guide, "Throughput of native arithmetic instructions"), at
the highest clock the driver allows.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from attention_cases import Case, exponentials, moved_bytes, operations
from torch import Tensor

MATRIX = 8192
COPY_BYTES = 1 << 30
SPECIAL_RESULTS_PER_CLOCK = 16


@dataclass(frozen=True)
class Peaks:
    """What the device reached here; None is not available.

    operations_per_s: of float16 matrix products with float32 sums. bytes_per_s: read and written.
    """

    operations_per_s: float
    bytes_per_s: float
    exponentials_per_s: float | None


@dataclass(frozen=True)
class Floor:
    """Milliseconds that each resource needs at its peak; the floor is the largest."""

    arithmetic_ms: float
    bytes_ms: float
    exponentials_ms: float | None

    @property
    def ms(self) -> float:
        """The least time."""
        return max(self.arithmetic_ms, self.bytes_ms, self.exponentials_ms or 0.0)

    @property
    def bound(self) -> str:
        """What the case is bound by."""
        times = {k: v for k, v in asdict(self).items() if v is not None}
        return max(times, key=lambda k: times[k]).removesuffix("_ms")


def floor(case: Case, lengths: Tensor | None, peaks: Peaks) -> Floor:
    """The least time of a case on a device with these peaks."""
    exponential = peaks.exponentials_per_s
    return Floor(
        arithmetic_ms=1e3 * operations(case, lengths) / peaks.operations_per_s,
        bytes_ms=1e3 * moved_bytes(case, lengths) / peaks.bytes_per_s,
        exponentials_ms=1e3 * exponentials(case, lengths) / exponential if exponential else None,
    )


def measure_peaks(
    device: torch.device,
    median_ms: Callable[[Callable[[], object]], float],
    *,
    matrix: int = MATRIX,
    copy_bytes: int = COPY_BYTES,
) -> Peaks:
    """Peaks of `device`; `median_ms` times a callable on it."""
    a = torch.randn((matrix, matrix), dtype=torch.float16, device=device)
    product_ms = median_ms(lambda: a @ a)
    source = torch.empty(copy_bytes, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    copy_ms = median_ms(lambda: copy.copy_(source))
    return Peaks(
        operations_per_s=2 * matrix**3 / product_ms * 1e3,
        bytes_per_s=2 * copy_bytes / copy_ms * 1e3,
        exponentials_per_s=_exponentials_per_s(device),
    )


def _exponentials_per_s(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    asked = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    clock_hz = float(said.splitlines()[device.index or 0]) * 1e6
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    return SPECIAL_RESULTS_PER_CLOCK * multiprocessors * clock_hz
