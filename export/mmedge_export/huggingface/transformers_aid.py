"""What transformers needs while one of its models is exported.

transformers itself knows which of its code cannot be traced: `transformers.exporters` (5.23) has
reversible patches, operator translations and repairs for it. They are used as they are; the
exporter around them is not (it decides shapes and names by itself). Exact substitutes of our own
are in `mmedge_export.huggingface.substitutes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torch import nn

from mmedge.optional import require
from mmedge.recipes import ExportAid
from mmedge.replaced import replaced
from mmedge_export.huggingface.missing_values import with_values
from mmedge_export.huggingface.open_lengths import open_lengths
from mmedge_export.huggingface.packed_attention import forwards_kept
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.without_checks import without_checks

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch.export import ExportedProgram


def transformers_aid(model: nn.Module) -> ExportAid:
    """Patches, translations and repairs for exporting parts of `model`."""
    onnx_exporter = require("transformers.exporters.exporter_onnx")
    utilities = require("transformers.exporters.utils")

    @contextmanager
    def patched() -> Iterator[None]:
        dynamo = require("transformers.exporters.exporter_dynamo")
        with ExitStack() as stack:
            stack.enter_context(without_checks())
            stack.enter_context(replaced(onnx_exporter, "apply_fx_node_fixes", with_values))
            stack.enter_context(utilities.apply_patches("onnx"))
            stack.enter_context(forwards_kept(model, lambda: utilities.apply_patches("dynamo")))
            stack.enter_context(dynamo.reset_model_state(model))
            stack.enter_context(substituted(model))
            stack.enter_context(open_lengths(model))
            yield

    def repair(program: ExportedProgram) -> None:
        with_values(utilities.apply_fx_node_fixes)("onnx", program.graph_module)

    def finish(graph: ir.Model) -> None:
        for fix in onnx_exporter._IR_FIXES:
            for part in (graph.graph, *graph.functions.values()):
                fix(part)

    return ExportAid(
        substituted=patched,
        translations=dict(onnx_exporter._ONNX_TRANSLATION_TABLE),
        repair=repair,
        finish=finish,
    )
