"""The tables of mmedge.toml: what a project may say (`project_checks` says what it may not)."""

from __future__ import annotations

from typing import Any

import msgspec

from mmedge.tensors import Axis, Dim

PROJECT_FILE = "mmedge.toml"
SCHEMA = 1
MODALITIES = ("image", "text", "audio", "video", "tensor", "indicator")


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[model]: where the model comes from.

    factory: "module:function" in the project directory; called with `arguments`, returns the
        torch.nn.Module without trained weights. Not needed for .pt2 and Hugging Face checkpoints.
    weights: the checkpoint, relative to the project directory.
    """

    weights: str = ""
    factory: str = ""
    arguments: dict[str, Any] = {}


class InputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[inputs.NAME]: one argument of the model's forward, in order."""

    shape: tuple[Dim, ...]
    dtype: str = "float32"
    modality: str = "tensor"
    preprocess: dict[str, Any] = {}
    optional: bool = False
    substitute: str = "zeros"
    indicates: str | None = None


class OutputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[outputs.NAME]: what is known of an output; `labels` is a JSON list of class names."""

    labels: str | None = None


class ComponentTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[components.NAME]: a component of a project that wires itself, in order of execution.

    module: dotted path of the submodule that this component is.
    inputs: sources, in the order of the submodule's arguments.
    outputs: names of what it returns.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    modality: str = "tensor"


class DataTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[data]: loaders ("module:function") of real samples, and the metric of the task.

    samples: files to verify with where there is a [processor] and no loader: images, sounds,
        texts, or JSON with whole examples.
    upstream: without a [processor], real samples are made into tensors by the processor class of
        transformers, which does not travel in the bundle.
    """

    calibration: str = ""
    evaluation: str = ""
    metric: str = ""
    samples: tuple[str, ...] = ()
    upstream: bool = False


class ProjectFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """mmedge.toml, decoded.

    processor: options of `mmedge.runtime.processors`, for models whose raw inputs are converted
        together; [inputs.NAME.preprocess] converts one by itself.
    """

    name: str
    schema: int = SCHEMA
    model: ModelTable = ModelTable()
    inputs: dict[str, InputTable] = {}
    outputs: dict[str, OutputTable] = {}
    recipe: dict[str, Any] = {}
    components: dict[str, ComponentTable] = {}
    wiring: dict[str, str] = {}
    axes: dict[str, Axis] = {}
    processor: dict[str, Any] = {}
    data: DataTable = DataTable()
    compile: dict[str, Any] = {}
