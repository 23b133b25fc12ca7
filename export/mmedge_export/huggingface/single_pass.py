"""Recipe `hf_single_pass`: an architecture whose forward is one pass, as one component.

Fusion encoders (ViLT, LXMERT, FLAVA, LayoutLMv3), detection with text queries (OWL-ViT,
Grounding DINO), CTC (Wav2Vec2): whatever takes tensors and returns tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge_export.huggingface.feature_encoder import flattened
from mmedge_export.huggingface.fewer_places import place_token
from mmedge_export.huggingface.inputs import (
    axes_of,
    forward_names,
    missing_modalities,
    output_fields,
    tables_of,
    texts_apart,
    unseen_modalities,
)
from mmedge_export.huggingface.longer_text import longer_text
from mmedge_export.huggingface.one_canvas import one_canvas
from mmedge_export.huggingface.transformers_aid import transformers_aid
from mmedge_export.huggingface.tried_forward import complaint

MODEL = "model"
# Several texts with each image; upstream takes those of all images in a row.
QUERIES = ("input_ids", "attention_mask")
# Every text is compared with every image or film: a batch of its own, where forward takes one.
PAIRS = "logits_per_text"
# Of a ModelOutput: what is no result of the task.
NO_RESULTS = ("loss", "past_key_values", "hidden_states", "attentions")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of `[recipe]`.

    flat: inputs that upstream takes without a batch axis; here [batch, queries, ...].
    """

    flat: tuple[str, ...] = ()


class NamedForward(nn.Module):
    """The model's forward with inputs by position and named outputs as a tuple.

    outputs: names to return; None finds those that are tensors.
    """

    def __init__(
        self, model: nn.Module, arguments: tuple[str, ...], *, flat: frozenset[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.flat = flat
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as `arguments` names them, to the outputs in the order of `named`."""
        return tuple(self.named(*tensors).values())

    def named(self, *tensors: Tensor) -> dict[str, Tensor]:
        """The same by name."""
        given = dict(zip(self.arguments, tensors, strict=True))
        return results_of(self.model(**flattened(given, self.flat)))


def results_of(output: Any) -> dict[str, Tensor]:
    """The tensors of a ModelOutput that are results; nested ones only where there are no others.

    A field that holds several (the logits of each head, in MGP-STR) gives each of them a number.
    """
    if isinstance(output, Tensor):
        return {"output": output}
    if not isinstance(output, Mapping):
        output = {f"output_{i}": value for i, value in enumerate(output)}
    fields = {name: value for name, value in output.items() if not name.endswith(NO_RESULTS)}
    top = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    several = {
        f"{name}_{i}": value
        for name, values in fields.items()
        if isinstance(values, list | tuple)
        for i, value in enumerate(values)
        if isinstance(value, Tensor)
    }
    if top or several:
        return top or several
    nested = [value for value in output.values() if isinstance(value, Mapping)]
    return {name: tensor for value in nested for name, tensor in results_of(value).items()}


class SinglePass:
    """The whole forward as one graph."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """Any architecture that takes the tensors of its processor and returns others."""
        names = forward_names(view.model_class)
        canvas = one_canvas(view)
        view = view if canvas is None else canvas
        inputs, axes = tables_of(view, names)
        if not inputs:
            return "no sample of its inputs is known: nothing in the directory makes them"
        missing = missing_modalities(view.model_class, inputs) + unseen_modalities(view, inputs)
        if missing:
            return f"no sample of its {' and '.join(dict.fromkeys(missing))} input is known"
        if PAIRS in output_fields(view.model_class):
            apart = texts_apart(inputs)
            own = axes_of(view, apart)
            # CLIPSeg's annotation says so, and its forward wants as many texts as images.
            if complaint(view, apart, own) is None:
                inputs, axes = apart, own
        flat = [name for name in QUERIES if name in inputs and len(inputs[name].shape) == 3]
        complains = complaint(
            view, inputs, axes, prepared=lambda given: flattened(given, frozenset(flat))
        )
        if complains:
            return f"its forward does not take {', '.join(inputs)} alone ({complains})"
        left = [name for name in view.sample if name not in names]
        reasons = [f"forward takes {', '.join(inputs)} and is exported whole"]
        reasons += [f"{name} is made by the processor and not taken by forward" for name in left]
        if canvas is not None:
            edge = inputs["pixel_values"].shape[-1]
            reasons.append(f"pictures are padded to {edge} x {edge}, the largest that can be")
        options = {"flat": flat} if flat else {}
        processor = None if canvas is None else canvas.processor
        return Proposal(
            "single pass", inputs, axes, options, tuple(reasons), processor, components=(MODEL,)
        )

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """One component, its outputs named as the ModelOutput names them."""
        chosen = decode(options, Options, where="[recipe]")
        names = tuple(project.file.inputs)
        whole = NamedForward(model, names, flat=frozenset(chosen.flat))
        with torch.no_grad():
            produced = whole.named(*[example[name] for name in names])
        if not produced:
            raise ProjectError(f"{type(model).__name__}.forward returns no tensor")
        made = {name: f"{name}_out" if name in names else name for name in produced}
        component = ComponentModule(
            name=MODEL,
            module=whole,
            bindings={name: name for name in names},
            outputs=tuple(made.values()),
            modality="multimodal",
            prefix="model.",
        )
        return Split(
            components=(component,),
            outputs={name: f"{MODEL}.{own}" for name, own in made.items()},
            reference=lambda inputs: _reference(whole, inputs),
            resize=longer_text(project) if place_token(model, "image") is not None else None,
            aid=transformers_aid(model),
        )


def _reference(whole: NamedForward, inputs: Tensors) -> dict[str, Tensor]:
    with torch.no_grad():
        return whole.named(*[inputs[name] for name in whole.arguments])


recipe = SinglePass()
