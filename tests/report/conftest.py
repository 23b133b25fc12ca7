"""A complete report, as build_report writes it, from plain numbers: no model, no machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MakeReport = Callable[..., dict[str, Any]]


@pytest.fixture
def make_report() -> MakeReport:
    """`complete_report`, for tests that want a variant."""
    return complete_report


@pytest.fixture
def report() -> dict[str, Any]:
    """A two-encoder model, verified on real data, measured cleanly: nothing to doubt."""
    return complete_report()


def complete_report(
    *,
    name: str = "vqa",
    components: int = 3,
    speedup: tuple[float, float, float] = (4.2, 4.0, 4.4),
    optional: bool = False,
    generates: bool = False,
    attends: bool = False,
    own_engines: bool = False,
    quantized: bool = False,
) -> dict[str, Any]:
    """A report of encoders side by side, and a last component "fusion" that joins them.

    components: how many; encoder I reads "input_I" and gives "features", fusion reads them all
        and gives "logits". With one component, fusion reads the only input itself.
    speedup: value, low and high of the measured speed-up, end to end and by component.
    optional: the first input may be absent, and the runs without it were compared.
    attends: fusion has one attention, fused.
    own_engines: the target has engines of its own, and fusion's was built.
    generates: fusion is a decoder with one cache tensor, and the output is "tokens".
    """
    encoders = [f"encoder_{i}" for i in range(components - 1)]
    inputs = [f"input_{i}" for i in range(max(1, components - 1))]
    sources = [f"{encoder}.features" for encoder in encoders] or inputs
    parts = [
        component(encoder, {"x": source}, "features")
        for encoder, source in zip(encoders, inputs, strict=False)
    ]
    parts.append(
        component("fusion", {f"x{i}": s for i, s in enumerate(sources)}, "logits", attends=attends)
    )
    output = "tokens" if generates else "logits"
    absent = inputs[:1] if optional else []
    return {
        "schema": 1,
        "name": name,
        "created": "2026-01-02T03:04:05+00:00",
        "target": target(),
        "provenance": provenance(name),
        "checkpoint": checkpoint(components),
        "recipe": "submodules",
        "inputs": [model_input(source, optional=source in absent) for source in inputs],
        "outputs": {output: f"fusion.{output}"},
        "axes": {"batch": {"min": 1, "opt": 1, "max": 64}},
        "generation": generation() if generates else None,
        "raw_inputs": {},
        "substitutes": {source: [f"zeros stand in for {sources[0]}"] for source in absent},
        "components": parts,
        "native": {part["name"]: native(built=part["name"] == "fusion") for part in parts}
        if own_engines
        else {},
        "remarks": [],
        "quantization": quantization(parts) if quantized else no_quantization(),
        "unused_layers": [],
        "verification": verification(parts, output, absent),
        "measurement": measurement(encoders if generates else [*encoders, "fusion"], speedup),
        "stages": [
            {"stage": stage, "seconds": 0.5, "cached": False, "peak_rss_bytes": 4e8}
            for stage in ("load", "export", "rewrite", "build", "verify", "measure")
        ],
        "resources": {
            "expected_peak_bytes": 9e8,
            "expected_mapped_bytes": 1e8,
            "expected_disk_bytes": 2e8,
            "available_bytes": 8e9,
        },
        "refused": [],
    }


def no_quantization() -> dict[str, Any]:
    """Of a compile that was not asked for integers."""
    return {"asked": False, "components": {}}


def quantization(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The first component is in integers but for one operator, the others are left."""
    return {
        "asked": True,
        "measured": True,
        "origin": "calibration.npz",
        "constant_inputs": {},
        "dirty": [],
        "components": {p["name"]: quantized_component(refused=n > 0) for n, p in enumerate(parts)},
    }


def quantized_component(*, refused: bool) -> dict[str, Any]:
    """Three operators: two in integers, unless it is refused."""
    kept = {"treatment": "kept", "why": "moved too far <alone>", "weight_sqnr_db": None}
    done = {"treatment": "static-int8", "why": "uint8 activations", "weight_sqnr_db": 41.7}
    return {
        "treated": [
            {"node": f"n{i}", "module": f"layers.{i}", "operator": "Conv", "saved_bytes": 0}
            | (kept if refused or i == 2 else done)
            for i in range(3)
        ],
        "refused": "not measurably faster: 1.04 (1.01 to 1.07)" if refused else None,
        "moved": {"features": {"cosine": 0.9993}},
        "ratio": {"value": 0.5, "low": 0.48, "high": 0.52},
        "bytes_before": 4_000_000,
        "bytes_after": 1_000_000,
    }


def native(*, built: bool) -> dict[str, Any]:
    sizes = {"min": 1, "opt": 4, "max": 16}
    plan = {
        "kind": "tensorrt",
        "library": "tensorrt_rtx",
        "precision": "fp32",
        "profiles": [{"batch": sizes}],
        "compute_capability": "8.6",
        "optimization_level": None,
        "workspace_bytes": None,
        "plugins": [],
    }
    engine = {
        "kind": "tensorrt",
        "path": None,
        "file": "engines/fusion.sm86.engine",
        "precision": "fp32",
        "built_with": {"tensorrt_rtx": "1.7.1.116", "compute_capability": "8.6"},
        "size_bytes": 4000,
        "options": {"library": "tensorrt_rtx"},
        "memory": {"weights_bytes": 3000, "activations_bytes": 512},
        "plugin_files": {},
    }
    return {"plan": plan, "engine": engine if built else None}


def target() -> dict[str, Any]:
    return {
        "name": "cpu",
        "title": "CPU, ONNX Runtime",
        "backend": "onnxruntime",
        "opset": 23,
        "precisions": ["fp32", "int8"],
        "description": "Any CPU.",
        "providers": ["CPUExecutionProvider"],
        "tensorrt": None,
        "quantization": {
            "activations": "uint8",
            "convolutions": "static",
            "products": "dynamic",
            "recurrent": "dynamic",
            "biases": "int32",
            "joins": True,
            "observer": "mse",
        },
        "threads": {"intra_op": 0, "inter_op": 1},
        "facts": {},
    }


def provenance(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "checkpoint_sha256": "ab" * 32,
        "project_digest": "cd" * 32,
        "config": {
            "opset": None,
            "threads": None,
            "max_drop": 0.001,
            "tolerance": 1e-4,
            "measure_seconds": 4.0,
            "allow_slower": False,
            "debug": False,
            "trust_pickle": False,
            "trust_remote_code": False,
            "ignore_estimate": False,
            "cache_capacity": None,
            "precision": "fp32",
            "io_precision": "fp32",
            "attention": "auto",
            "shapes": {},
            "optimization_level": None,
            "workspace_bytes": None,
        },
        "target": "cpu",
        "versions": {"mmedge": "0.1.0", "torch": "2.13.0"},
    }


def checkpoint(components: int) -> dict[str, Any]:
    """Every component has one Linear of 110 parameters: 440 bytes in two tensors."""
    return {
        "file": "weights.safetensors",
        "tensors": 2 * components,
        "parameters": 110 * components,
        "size_bytes": 440 * components,
        "dtypes": {"float32": 2 * components},
        "converted": {},
        "notes": [],
    }


def tensor(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": ["batch", 10]}


def model_input(name: str, *, optional: bool) -> dict[str, Any]:
    """As msgspec writes it: what is the default is left out."""
    declared = {"spec": tensor(name), "modality": "image", "preprocess": {"kind": "image"}}
    return {**declared, "optional": True} if optional else declared


def generation() -> dict[str, Any]:
    return {
        "decoder": "fusion",
        "token_input": "input_ids",
        "logits_output": "logits",
        "cache": {"past_key_values.0.key": "present.0.key"},
        "start_token_ids": [1],
        "end_token_ids": [2],
        "pad_token_id": 0,
        "max_new_tokens": 32,
    }


def component(
    name: str, bindings: dict[str, str], output: str, *, attends: bool = False
) -> dict[str, Any]:
    passes = {"FoldConstants": [], "RemoveNoOps": ["removed 1 Identity"]}
    return {
        "name": name,
        "modality": "image",
        "inputs": [tensor(argument) for argument in bindings],
        "outputs": [tensor(output)],
        "bindings": bindings,
        "engine": {
            "kind": "onnxruntime",
            "file": f"engines/{name}.onnx",
            "precision": "fp32",
            "size_bytes": 2000,
            "built_with": {"onnxruntime": "1.31.1"},
        },
        "export": {"opset": 23, "nodes": 3, "weight_bytes": 440},
        "precision": None,
        "attention": [],
        "weight_bytes": 440,
        "rewrite": {
            "nodes": 2,
            "weight_bytes": 440,
            "attention": [attention(f"{name}.heads", fused=True)] if attends else [],
            "passes": [
                {
                    "name": done,
                    "nodes_before": 3,
                    "nodes_after": 2 if what else 3,
                    "changed": bool(what),
                    "what": what,
                    "max_abs_difference": None,
                }
                for done, what in passes.items()
            ],
        },
        "layers": [
            layer(f"{name}.linear", "Linear", 110, operators={"Gemm": 1}),
            layer(f"{name}.act", "ReLU", 0, operators={"Relu": 2}),
        ],
    }


def attention(module: str, *, fused: bool) -> dict[str, str]:
    treatment = ("fused", "one Attention operator") if fused else ("left", "the model multiplies")
    return {"module": module, **dict(zip(("treatment", "why"), treatment, strict=True))}


def layer(module: str, kind: str, parameters: int, *, operators: dict[str, int]) -> dict[str, Any]:
    return {
        "module": module,
        "kind": kind,
        "operators": operators,
        "parameters": parameters,
        "treatment": "kept" if operators else "unused",
        "why": "no compression was asked for" if operators else "no output depends on it",
    }


def difference() -> dict[str, Any]:
    return {
        "count": 640,
        "max_abs": 1.2e-7,
        "relative": 2.5e-7,
        "cosine": 0.9999999999999,
        "sqnr_db": 132.4,
        "mismatched": 0,
        "not_finite": 0,
    }


def verification(parts: list[dict[str, Any]], output: str, absent: list[str]) -> dict[str, Any]:
    generates = output == "tokens"
    metric = "exact_match" if generates else "accuracy"
    return {
        "samples": 64,
        "origin": "data:evaluation",
        "real_inputs": True,
        "tolerance": 1e-4,
        "near_ties": {},
        "component_tolerance": {part["name"]: 1e-4 for part in parts},
        "split": {} if generates else {output: difference()},
        "components": {p["name"]: {o["name"]: difference() for o in p["outputs"]} for p in parts},
        "end_to_end": {output: difference()},
        "task": {"metric": metric, "before": 0.9712, "after": 0.9712, "samples": 64},
        "golden_tolerance": {output: 1e-4},
        "own_rounding": {},
        "absent": {name: {output: difference()} for name in absent},
    }


def measurement(measured: list[str], speedup: tuple[float, float, float]) -> dict[str, Any]:
    whole = timed(2.0, speedup)
    whole["samples_ms"] = {
        side: [part["p50_ms"] * (0.9 + 0.2 * i / 199) for i in range(200)]
        for side, part in whole["summaries"].items()
    }
    return {
        "measured": "2026-01-02T03:04:05+00:00",
        "batch": 1,
        "threads": None,
        "machine": machine(),
        "end_to_end": whole,
        "components": {name: timed(0.5, speedup) for name in measured},
        "dirty": [],
        "keep": True,
    }


def timed(engine_ms: float, speedup: tuple[float, float, float]) -> dict[str, Any]:
    sides = {"engine": engine_ms, "pytorch": engine_ms * speedup[0]}
    return {
        "summaries": {side: summary(ms) for side, ms in sides.items()},
        "warmed_up": True,
        "cpu_ms_per_call": sides,
        "rounds": 20,
        "wall_seconds": 2.4,
        "speedup": dict(zip(("value", "low", "high"), speedup, strict=True)),
    }


def summary(p50_ms: float) -> dict[str, Any]:
    """200 calls, evenly spread over 10% around the median."""
    return {
        "count": 200,
        "mean_ms": p50_ms,
        "p50_ms": p50_ms,
        "p90_ms": p50_ms * 1.08,
        "p95_ms": p50_ms * 1.09,
        "p99_ms": p50_ms * 1.098,
        "max_ms": p50_ms * 1.1,
        "p50_interval_ms": {"low": p50_ms * 0.99, "high": p50_ms * 1.01},
        "p90_interval_ms": {"low": p50_ms * 1.07, "high": p50_ms * 1.09},
        "p99_interval_ms": None,
        "drift": {"value": 1.001, "low": 0.995, "high": 1.01},
        "drifted": False,
        "outlier_share": 0.0,
    }


def machine() -> dict[str, Any]:
    return {
        "cpu_model": "A CPU",
        "board": None,
        "architecture": "x86_64",
        "usable_cores": 2,
        "memory_bytes": 25_000_000_000,
        "system": "Linux",
        "kernel": "6.1",
        "governor": None,
        "current_mhz": None,
        "max_mhz": 3000.0,
        "load_average": 0.1,
        "hypervisor": True,
        "python": "3.11.7",
    }
