"""Stage `fuse`: attentions that get a kernel of ours, and an account of every one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmedge.artifact import Artifact, replace
from mmedge.errors import GraphError, ProjectError
from mmedge.graph.files import load_graph, save_graph, weight_bytes
from mmedge.graph.passes import run_passes
from mmedge.graph.rules.attention_choice import Features, choose, refusal
from mmedge.graph.rules.fuse_attention import Decide, FuseAttention, FusedBlock
from mmedge.ops.fused_attention import PLUGIN
from mmedge.stage import Workspace
from mmedge.targets import Target, TensorRTSettings

if TYPE_CHECKING:
    import onnx_ir as ir

# As many blocks of one reason as a person reads.
MOST_MODULES = 4


class Fuse:
    """Put our operator where the setting `attention` and the target's table want it.

    Only targets with an engine of their own have a kernel; on others the graphs stay as they are.
    The record has, for every component, each attention with its module, what it was, what it
    became and why; and the plugins that the component's engine then needs.
    """

    name = "fuse"
    requires: tuple[str, ...] = ("precision",)
    config_keys: tuple[str, ...] = ("attention",)
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with attentions fused."""
        asked, settings = workspace.config.attention, workspace.target.tensorrt
        record: dict[str, Any] = {"asked": asked, "components": {}, "plugins": {}}
        # The last stage that changes graphs: these are the weights that engines are built from.
        weights = {n: weight_bytes(load_graph(Path(p))) for n, p in artifact.graphs.items()}
        record["weight_bytes"] = weights
        if settings is None:
            return artifact.with_record(self.name, record)
        graphs = dict(artifact.graphs)
        for name, path in artifact.graphs.items():
            workspace.progress(f"choosing attention kernels of {name}")
            model, blocks = fuse(load_graph(Path(path)), asked, settings)
            record["components"][name] = blocks
            if any(block.became == "plugin" for block in blocks):
                record["plugins"][name] = [PLUGIN]
                graphs[name] = str(directory / f"{name}.onnx")
                save_graph(model, Path(graphs[name]))
        return replace(artifact, graphs=graphs).with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """A plugin that was asked for is in some graph."""
        record = artifact.records[self.name]
        if record["asked"] != "plugin" or record["plugins"]:
            return
        blocks = [block for found in record["components"].values() for block in found]
        raise GraphError(
            "no attention of this model can use the plugin that was asked for",
            found=_reasons(blocks) or "no attention in any component",
            expected="an attention of 16 bits that the kernel takes",
            hint="compile with --attention auto" + _narrower(blocks),
        )


def check_attention(target: Target, attention: str) -> None:
    """Raise ProjectError where a plugin is asked for and the target can have none."""
    if attention == "plugin" and target.tensorrt is None:
        raise ProjectError(
            f"the target {target.name!r} has no engines that a plugin of attention could be in",
            found=f"backend {target.backend}",
            hint="leave --attention out, or name a target with a GPU (mmedge targets)",
        )


def fuse(
    model: ir.Model, asked: str, settings: TensorRTSettings
) -> tuple[ir.Model, list[FusedBlock]]:
    """The graph with attentions fused as `asked`, and the account of all of them."""
    rule = FuseAttention(_decision(asked, settings))
    model, _ = run_passes(model, [rule])
    return model, rule.blocks


def _decision(asked: str, settings: TensorRTSettings) -> Decide:
    def decide(features: Features) -> tuple[str, str]:
        if asked == "builtin":
            return "builtin", "--attention builtin"
        refused = refusal(features, settings)
        if refused:
            return "builtin", refused
        if asked == "plugin":
            return "plugin", "--attention plugin"
        row = choose(features, settings)
        return row.use, row.why

    return decide


def _reasons(blocks: list[dict[str, str]]) -> str:
    alike: dict[str, list[str]] = {}
    for block in blocks:
        alike.setdefault(block["why"], []).append(block["module"] or "the model itself")
    lines = []
    for why, modules in alike.items():
        more = len(modules) - MOST_MODULES
        named = ", ".join(modules[:MOST_MODULES]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"{named}: {why}")
    return "\n".join(lines)


def _narrower(blocks: list[dict[str, str]]) -> str:
    wide = any("16 bits" in block["why"] for block in blocks)
    return ", or with --precision fp16" if wide else ""
