"""The installed TensorRT: which of the two it is, its version, and where the versions differ.

`tensorrt` (desktop, data centre, Jetson; 10.3 to 11.x) and `tensorrt_rtx` (desktop RTX; 1.x) have
one API but for what this module hides. Enums are taken by name: their numbers shift between
versions (STRONGLY_TYPED is 1 in 10.x and 0 in 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.errors import BuildError, MissingDependencyError
from mmedge.optional import require

LIBRARIES = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True)
class TensorRT:
    """One installed library.

    name: its import name. module: its bindings. logger: the process-wide one; the first that a
    process makes is the one that every builder writes to.
    """

    name: str
    module: Any
    logger: Any

    @property
    def version(self) -> str:
        """As the library says it: three or four numbers."""
        return str(self.module.__version__)

    def stamps(self, compute_capability: str | None) -> dict[str, str]:
        """What an engine built now is tied to: refused by a runtime where any of it is another."""
        from mmedge.runtime.tensorrt.stamps import stamps

        return stamps(self, compute_capability)

    def builder(self) -> Any:
        """A new IBuilder. BuildError where the library cannot make one (no driver, for some)."""
        try:
            builder = self.module.Builder(self.logger)
        except (RuntimeError, TypeError) as error:
            raise self._no_builder(error) from error
        if builder is None:
            raise self._no_builder("no builder")
        return builder

    def network(self, builder: Any) -> Any:
        """A new strongly typed network: precisions are the graph's, not the builder's."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        # From 11 on there are no others, and a version may have dropped the flag.
        return builder.create_network(0 if flag is None else 1 << int(flag))

    def for_compute_capability(self, config: Any, wanted: str) -> None:
        """Have `config` build for GPUs of compute capability `wanted` ("8.6").

        Only tensorrt_rtx builds for a GPU that is not there; `tensorrt` builds for the GPU of
        this machine. BuildError names the capabilities that can be had.
        """
        kinds = getattr(self.module, "ComputeCapability", None)
        if kinds is None or not hasattr(config, "set_compute_capability"):
            return
        name = f"SM{wanted.replace('.', '')}"
        known = [kind for kind in kinds.__members__ if kind.startswith("SM")]
        if name not in known:
            raise BuildError(
                f"{self.name} {self.version} builds no engines for compute capability {wanted}",
                expected=", ".join(f"{kind[2:-1]}.{kind[-1]}" for kind in known),
                hint="build on the device itself: mmedge build BUNDLE",
            )
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(kinds.__members__[name], 0):
            raise BuildError(f"{self.name} {self.version} refuses compute capability {wanted}")

    def _no_builder(self, found: object) -> BuildError:
        return BuildError(
            f"{self.name} {self.version} cannot build engines on this machine",
            found=found,
            hint="is the NVIDIA driver installed, and new enough? nvidia-smi tells",
        )


def find_library(name: str, *, purpose: str) -> TensorRT:
    """`tensorrt` or `tensorrt_rtx`; MissingDependencyError where it is not installed."""
    from mmedge.runtime.tensorrt.log import make_logger

    try:
        module = require(name, purpose=purpose)
    except MissingDependencyError as error:
        if name != "tensorrt":
            raise
        raise MissingDependencyError(
            error.what,
            found=error.details["found"],
            hint=f"{error.details['try']}; on a Jetson it comes with JetPack (apt install "
            "python3-libnvinfer), and a virtual environment made with --system-site-packages "
            "sees it",
        ) from error
    return TensorRT(name, module, make_logger(module))
