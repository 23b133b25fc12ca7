"""Opening an ONNX Runtime session that runs on the providers asked for, and on no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from mmedge.errors import BuildError
from mmedge.optional import require
from mmedge.runtime.runner import MOST_THREADS
from mmedge.strict import nearest

Optimization = Literal["all", "basic", "disable"]
CPU = "CPUExecutionProvider"
# Every error is an exception too, which tells it: ORT_LOGGING_LEVEL_FATAL.
FATAL_ONLY = 4

# Which package has the provider; each replaces the plain `onnxruntime` package.
PROVIDER_PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu, with the CUDA and cuDNN it names",
    "TensorrtExecutionProvider": "onnxruntime-gpu, with the TensorRT it names",
    "NvTensorRTRTXExecutionProvider": "onnxruntime-trt-rtx",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
}


def open_session(
    path: Path,
    *,
    providers: Sequence[str],
    threads: int | None,
    optimization: Optimization,
    allow_spinning: bool | None,
    memory_arena: bool = True,
) -> Any:
    """The onnxruntime.InferenceSession of the file at `path`.

    Raises BuildError where a provider is not there or was dropped, an option is unknown, or
    ONNX Runtime refuses the file.
    """
    ort = require("onnxruntime")
    _check_available(ort, providers, path)
    settings = _session_options(ort, threads, optimization, allow_spinning)
    settings.enable_cpu_mem_arena = memory_arena
    settings.enable_mem_pattern = memory_arena  # one block for all that a run needs
    session = _create(ort, path, providers, settings)
    check_kept(session.get_providers(), providers, path)
    return session


def _session_options(
    ort: Any, threads: int | None, optimization: str, allow_spinning: bool | None
) -> Any:
    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    if optimization not in levels:
        known = ", ".join(get_args(Optimization))
        raise BuildError("unknown optimization level", found=optimization, expected=known)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise BuildError(
            "that is no number of threads for an engine",
            found=threads,
            expected=f"1 to {MOST_THREADS}",
        )
    settings = ort.SessionOptions()
    settings.log_severity_level = FATAL_ONLY
    settings.graph_optimization_level = levels[optimization]
    settings.intra_op_num_threads = threads or 0  # 0 is ONNX Runtime's "choose yourself"
    if allow_spinning is not None:
        settings.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(allow_spinning))
        )
    # int8 stays int8. By default ONNX Runtime makes it uint8 on x86, and 1.31 then refuses its own
    # graph where such a value goes through a Flatten or a Reshape.
    settings.add_session_config_entry("session.qdqisint8allowed", "1")
    return settings


def _create(ort: Any, path: Path, providers: Sequence[str], settings: Any) -> Any:
    try:
        # Without enable_fallback=0 ONNX Runtime retries on the CPU when a provider fails.
        return ort.InferenceSession(
            str(path), settings, providers=list(providers), enable_fallback=0
        )
    except Exception as error:
        hint = "check that the file is complete and its external data lie beside it"
        if "NOT_IMPLEMENTED" in str(error):
            hint = "these providers have no kernel for that operation: use others, or replace it"
        raise BuildError(
            f"ONNX Runtime {ort.__version__} cannot open {path.name}",
            found=error,
            where=path,
            hint=hint,
        ) from error


def _check_available(ort: Any, providers: Sequence[str], path: Path) -> None:
    available = ort.get_available_providers()
    for name in providers:
        if name not in available:
            raise _not_usable(name, path, found=f"available: {', '.join(available)}", ort=ort)


def check_kept(kept: Sequence[str], requested: Sequence[str], path: Path) -> None:
    """BuildError unless every requested provider is among those that the session has."""
    for name in requested:
        if name not in kept:
            raise _not_usable(name, path, found=f"the session runs on: {', '.join(kept)}")


def _not_usable(name: str, path: Path, *, found: str, ort: Any = None) -> BuildError:
    package = PROVIDER_PACKAGES.get(name)
    known = ort.get_all_providers() if ort else [name]
    hint = f"install a build of ONNX Runtime that has {name}"
    if package:
        hint = f"pip uninstall onnxruntime, then pip install {package}"
    elif name not in known:
        hint = nearest(name, known)
    return BuildError(
        f"ONNX Runtime cannot run {path.name} on {name}",
        found=found,
        expected=name,
        where=path,
        hint=hint,
    )
