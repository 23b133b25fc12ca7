"""Put `mmedge::FusedAttention` where attentions are that it is chosen for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from mmedge.graph.passes.base import GraphPass, Outcome
from mmedge.graph.provenance import MODULE_PATH, module_path
from mmedge.graph.rules.attention_bias import bias
from mmedge.graph.rules.attention_choice import Features
from mmedge.graph.rules.attention_form import AttentionForm, Unrecognised, known, same_size
from mmedge.graph.rules.head_layout import BY_HEAD, Layout, merged_output
from mmedge.graph.rules.mask_meaning import MaskMeaning, meaning
from mmedge.graph.rules.softmax_attention import softmax_attention
from mmedge.graph.rules.standard_attention import standard_attention
from mmedge.ops.fused_attention import (
    CAUSAL_NONE,
    CAUSAL_UPPER_LEFT,
    DOMAIN,
    LENGTHS_NONE,
    LENGTHS_OF_KEYS,
    NAME,
    VERSION,
    FusedAttention,
)
from mmedge.ops.fused_attention_body import IR_VERSION, function, overload

# (use, why) of an attention that the operator can express.
Decide = Callable[[Features], tuple[str, str]]
RULES = (standard_attention, softmax_attention)


class FusedBlock(msgspec.Struct, frozen=True):
    """One attention: how the graph had it, and what it became: "plugin", "builtin" or "left"."""

    module: str
    form: str
    became: str
    why: str


class FuseAttention(GraphPass):
    """Replace attentions by FusedAttention, which reads the projections as they are.

    1. Recognised: the operator Attention, and product - softmax - product with its scales and mask
       (see the rules). Everything else is left, with the reason.
    2. `decide` says of each what it becomes; "plugin" is replaced, the others stay as they are.
    3. A mask that is causal becomes the attribute; one that is `key number < length` becomes
       lengths; what else there is becomes the bias. A mask that says which keys are padding is not
       taken for lengths: that its ones come first is true of a tokenizer, not of every caller.
    4. A query that sees no key gives 0. Where a mask hides with a low number instead of -inf, a
       model makes some mean of all values of it, which nothing is meant to read.
    5. Transposes that only brought heads forward, and back, are not needed any more.
    """

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.blocks: list[FusedBlock] = []

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place; `blocks` then accounts for every attention."""
        opset = model.opset_imports.get("", 0)
        for form in list(_found(model)):
            module, written = module_path(form.node), form.written
            if isinstance(form, Unrecognised):
                self.blocks.append(FusedBlock(module, written, "left", form.why))
                continue
            said = _meaning(form)
            use, why = self.decide(features(form, said))
            self.blocks.append(FusedBlock(module, written, use, why))
            if use == "plugin":
                attention = _replace(form, said)
                body = function(attention, opset=opset)
                model.functions.setdefault(body.identifier(), body)
        done = sum(block.became == "plugin" for block in self.blocks)
        if done:
            model.opset_imports[DOMAIN] = VERSION
            model.ir_version = max(model.ir_version, IR_VERSION)
            RemoveUnusedNodesPass()(model)
        return Outcome(model, bool(done), [f"fused {done} attentions"] * bool(done))


def _found(model: ir.Model) -> Iterator[AttentionForm | Unrecognised]:
    for graph in model.graphs():
        for node in graph:
            for rule in RULES:
                form = rule(node)
                if form is not None:
                    yield form


def _meaning(form: AttentionForm) -> MaskMeaning:
    """What the mask says that needs no bias; of a mask with more to it, nothing."""
    said = None if form.mask is None or form.mask_hides else meaning(form.mask)
    if said is None or not said.complete or not _of_each_row(said.lengths, form.query):
        masks = () if form.mask is None else (form.mask,)
        return MaskMeaning(causal=form.causal, rest=(*masks, *form.also))
    return MaskMeaning(said.causal or form.causal, said.lengths, rest=form.also)


def _of_each_row(lengths: ir.Value | None, query: ir.Value) -> bool:
    """Whether there are no lengths, or certainly one for each row of the batch."""
    return lengths is None or same_size(lengths, query, axis=0)


def features(form: AttentionForm, said: MaskMeaning) -> Features:
    """What decides on the attention."""
    return Features(
        dtype=form.query.dtype.name if form.query.dtype is not None else "unknown",
        head_size=form.size,
        lengths=said.lengths is not None,
        causal=said.causal,
        bias=not said.complete,
        keys=known(form.value, -2),
    )


def _replace(form: AttentionForm, said: MaskMeaning) -> FusedAttention:
    attention = FusedAttention(
        num_heads=form.heads[0],
        kv_num_heads=form.heads[1],
        scale=form.scale,
        causal=CAUSAL_UPPER_LEFT if said.causal else CAUSAL_NONE,
        has_bias=int(not said.complete),
        len_mode=LENGTHS_NONE if said.lengths is None else LENGTHS_OF_KEYS,
    )
    attention.check(where=form.node.name)
    layout = Layout(form)
    operands = [layout.query, layout.key, layout.value]
    operands += [bias(layout, said.rest)] if said.rest else []
    if said.lengths is not None:
        operands.append(_key_lengths(layout, said.lengths))
    fused = ir.node(
        NAME,
        operands,
        attention.attributes,
        domain=DOMAIN,
        overload=overload(attention),
        name=f"{form.node.name}_fused" if form.node.name else None,
    )
    made = fused.outputs[0]
    made.type = form.query.type
    layout.nodes.append(fused)
    _put(layout, form, made)
    return attention


def _key_lengths(layout: Layout, lengths: ir.Value) -> ir.Value:
    """[batch, 1, 1, 1] of any integers, as [batch] of those that rows can have."""
    keys = layout.rows(layout.value)
    wide = layout.make("Cast", [lengths], to=ir.DataType.INT64)
    flat = layout.make("Reshape", [wide, layout.integers([-1])])
    least = layout.make("Max", [flat, layout.integers([0])])
    most = layout.make("Min", [least, keys])
    return layout.make("Cast", [most], to=ir.DataType.INT32)


def _put(layout: Layout, form: AttentionForm, made: ir.Value) -> None:
    """Use `made` in the place of the attention's result."""
    merged = merged_output(form)
    node = form.node if merged is None else merged.node
    old = node.outputs[0]
    if merged is not None and merged.guard is not None and merged.zero is not None:
        rows = layout.make("Squeeze", [merged.guard, layout.integers([1])])
        made = layout.make("Where", [rows, merged.zero, made])
        made.type = form.query.type
    elif merged is None and not form.merged:
        axes = layout.integers([0, 0, form.heads[0], form.size])
        split = layout.make("Reshape", [made, axes])
        made = layout.make("Transpose", [split], perm=BY_HEAD)
    made.shape = old.shape
    graph = form.node.graph
    assert graph is not None
    for new in layout.nodes:
        new.metadata_props[MODULE_PATH] = module_path(form.node)
    graph.insert_before(node, layout.nodes)
    if old.is_graph_output():
        made.name = old.name
    old.replace_all_uses_with(made, replace_graph_outputs=True)
