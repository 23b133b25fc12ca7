"""Stages `export` and `rewrite`: components to ONNX graphs, then our passes and the wiring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmedge.artifact import Artifact, replace
from mmedge.capabilities import capabilities
from mmedge.errors import GraphError, MmedgeError, ProjectError
from mmedge.graph.attention_blocks import attention_blocks
from mmedge.graph.boundaries import infer_boundaries
from mmedge.graph.example import example_tensors, traceable
from mmedge.graph.export import export_component
from mmedge.graph.files import graph_specs, load_graph, save_graph, weight_bytes
from mmedge.graph.layers import account_for_layers
from mmedge.graph.passes import (
    DEFAULT_PASSES,
    LEGALIZING_PASSES,
    TARGET_PASSES,
    PassRecord,
    chosen,
    run_passes,
)
from mmedge.graph.repeatable import check_repeatable
from mmedge.graph.wire import learned_substitutes, wire
from mmedge.project import PROJECT_FILE
from mmedge.project_modules import user_line
from mmedge.recipes import ComponentModule, Split, load_recipe
from mmedge.stage import Workspace
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import Wiring

if TYPE_CHECKING:
    import torch


class Export:
    """Split the model by its recipe and export each component to ONNX."""

    name = "export"
    requires: tuple[str, ...] = ("load",)
    config_keys: tuple[str, ...] = ("opset", "trust_pickle", "cache_capacity")
    target_keys: tuple[str, ...] | None = ("opset",)

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """One graph for each component of the recipe, as torch exports it."""
        project, split = workspace.project, workspace.split
        example = example_tensors(workspace)
        boundaries = infer_boundaries(split, project.model_inputs(), example, project.axes())
        values = split.run(traceable(split, example, project))
        graphs: dict[str, str] = {}
        record: dict[str, Any] = {}
        for component in split.components:
            workspace.progress(f"exporting {component.name}")
            specs, examples = _arguments(component, split, boundaries, values)
            model = export_component(
                component,
                specs,
                examples,
                axes=project.axes(),
                opset=workspace.opset,
                project_directory=project.directory,
                aid=split.aid,
            )
            path = directory / f"{component.name}.onnx"
            save_graph(model, path)
            graphs[component.name] = str(path)
            record[component.name] = {
                "opset": workspace.opset,
                "nodes": len(model.graph),
                "weight_bytes": weight_bytes(model),
            }
        artifact = replace(artifact, graphs=graphs, boundaries=boundaries)
        return artifact.with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """Every component has a graph with nodes in it."""
        empty = [name for name, facts in artifact.records[self.name].items() if not facts["nodes"]]
        if empty or not artifact.graphs:
            raise GraphError(f"components {empty} were exported to graphs without any node")


class Rewrite:
    """Simplify every graph with exact passes, drop what it does not need, and wire the graphs."""

    name = "rewrite"
    requires: tuple[str, ...] = ("export",)
    config_keys: tuple[str, ...] = ("debug",)
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The graphs after every pass of `graph/passes`, and the wiring of what is left."""
        graphs: dict[str, str] = {}
        models = {}
        record: dict[str, Any] = {}
        settings = workspace.target.tensorrt
        table = None if settings is None else capabilities(settings)
        legalizing = chosen(LEGALIZING_PASSES, table, TARGET_PASSES)
        simplifying = chosen(DEFAULT_PASSES, table)
        for name, path in artifact.graphs.items():
            workspace.progress(f"rewriting {name}")
            feeds = _debug_feeds(workspace, name, artifact) if workspace.config.debug else None
            model, legalized = run_passes(load_graph(Path(path)), legalizing)
            model, done = run_passes(model, simplifying, feeds=feeds)
            target = directory / f"{name}.onnx"
            save_graph(model, target)
            graphs[name], models[name] = str(target), model
            record[name] = {"nodes": len(model.graph), "weight_bytes": weight_bytes(model)}
            record[name]["attention"] = attention_blocks(model)
            record[name]["passes"] = [_pass_summary(item) for item in (*legalized, *done)]
        specs = {name: graph_specs(model) for name, model in models.items()}
        wiring = wire(workspace.project, workspace.split, specs)
        substitutes = _save_learned(workspace, wiring, directory)
        layers = account_for_layers(workspace.model, models)
        artifact = replace(
            artifact, graphs=graphs, wiring=wiring, layers=layers, substitutes=substitutes
        )
        return artifact.with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """Every input of every component is bound to something that exists."""
        artifact.wired.check()


def make_split(workspace: Workspace) -> Split:
    """The model taken apart by the project's recipe; failures of the user's forward explained."""
    project = workspace.project
    options = dict(project.file.recipe)
    name = options.pop("name", "declared" if project.file.components else "single_graph")
    if workspace.config.cache_capacity is not None:
        options["capacity"] = workspace.config.cache_capacity
    recipe, example = load_recipe(name), example_tensors(workspace)
    try:
        split = recipe.split(workspace.model, project, options, example)
        check_repeatable(split, example)
    except MmedgeError as error:
        if workspace.config.cache_capacity is not None and "key 'capacity'" in error.what:
            raise ProjectError(
                "--cache-capacity is for models whose decoder keeps a cache",
                found=f"recipe {name!r}, which makes no such decoder",
                hint="leave it out",
            ) from error
        raise
    except Exception as error:
        written = (project.directory / PROJECT_FILE).is_file()
        first = "" if written else f"`mmedge init {project.directory}` writes {PROJECT_FILE}; then "
        given = ", ".join(f"{k}: {str(t.dtype)[6:]}{list(t.shape)}" for k, t in example.items())
        raise ProjectError(
            "the model's forward failed on the declared inputs",
            found=f"{type(error).__name__}: {error}",
            expected=f"forward to accept {given}",
            where=user_line(project.directory, error),
            hint=f"if this is not what forward itself complains of, {first}correct [inputs]: "
            "names, shapes and dtypes are those of forward's arguments",
        ) from error
    return split


def _arguments(
    component: ComponentModule,
    split: Split,
    boundaries: dict[str, TensorSpec],
    values: dict[str, torch.Tensor],
) -> tuple[list[TensorSpec], list[torch.Tensor]]:
    """Spec and example of each argument of the component's module, in order."""
    specs = [
        TensorSpec(name, boundaries[source].dtype, boundaries[source].shape)
        for name, source in component.bindings.items()
    ]
    examples = [values[source] for source in component.bindings.values()]
    if split.is_decoder(component.name):
        specs += split.decoder_inputs
        examples += [split.decoder_examples[spec.name] for spec in split.decoder_inputs]
    return specs, examples


def _debug_feeds(workspace: Workspace, name: str, artifact: Artifact) -> dict[str, Array]:
    """Real inputs of one component, for checking every pass numerically."""
    component = workspace.split.component(name)
    values = workspace.split.run(example_tensors(workspace))
    specs, examples = _arguments(component, workspace.split, artifact.boundaries, values)
    return {spec.name: tensor.numpy() for spec, tensor in zip(specs, examples, strict=True)}


def _pass_summary(record: PassRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "nodes_before": record.nodes_before,
        "nodes_after": record.nodes_after,
        "changed": record.changed,
        "what": list(record.what),
        "max_abs_difference": record.max_abs_difference,
    }


def _save_learned(workspace: Workspace, wiring: Wiring, directory: Path) -> dict[str, str]:
    saved = {}
    for source, array in learned_substitutes(workspace.project, workspace.model, wiring):
        path = directory / f"{source.replace('.', '_')}.npy"
        np.save(path, array, allow_pickle=False)
        saved[source] = str(path)
    return saved
