"""Recipe `encoder_decoder`: any inputs to generated text, through an nn.TransformerDecoder.

    [recipe]
    name = "encoder_decoder"
    decoder = "decoder"                         # dotted paths into the model
    token_embedding = "token_embedding"
    position_embedding = "position_embedding"
    head = "head"
    start_token_ids = [1]
    end_token_ids = [2]
    pad_token_id = 0
    max_new_tokens = 32

The model is `forward(<the inputs>, decoder_input_ids)`, and returns logits [batch, length,
vocabulary]. Two components: `encoder`, the user's forward up to the decoder, and `decoder`, one
step with a cache of keys and values, for prompts and single tokens alike. Whether the two are
the model is checked on the example, not believed.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from mmedge.project import Project
from mmedge.recipes import ComponentModule, Split, Tensors
from mmedge.strict import decode
from mmedge.tensors import TensorSpec
from mmedge.wiring import Generation
from mmedge_export.cached_decoder import CachedDecoder
from mmedge_export.encoder_decoder_checks import (
    Options,
    check_forward,
    check_inputs,
    check_options,
    check_same_logits,
)
from mmedge_export.greedy import greedy
from mmedge_export.memory_encoder import MemoryEncoder

LOGITS = "logits"
PADDING = "memory_key_padding_mask"


class EncoderDecoder:
    """An `encoder` and a `decoder` with a cache, run token by token."""

    def split(
        self, model: torch.nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """The two components; ProjectError unless together they give the model's own logits."""
        chosen = decode(options, Options, where="[recipe]")
        model.eval()
        check_inputs(model, project, chosen)
        check_options(model, chosen)
        encoder = _encoder(model, project, chosen)
        with torch.no_grad():
            known = encoder(*[example[name] for name in encoder.inputs])
        # A key and a value for each layer, and perhaps the padding mask.
        layers, padded = divmod(len(known), 2)
        names = _names("cross_key_values", layers) + (PADDING,) * padded
        decoder = CachedDecoder(model, chosen, padded=bool(padded))
        whole = WholeModel(model, chosen, generation(chosen, layers))
        tokens, past = _example_step(whole, decoder, example, known)
        return Split(
            components=(_encoder_component(encoder, names), _decoder_component(decoder, names)),
            outputs={"tokens": "decoder.tokens"},
            reference=whole.generate,
            generation=whole.generation,
            decoder_inputs=_decoder_inputs(project, whole.generation, past),
            decoder_examples={
                chosen.token_input: tokens,
                **dict(zip(whole.generation.cache, past, strict=True)),
            },
        )


class WholeModel:
    """The user's own forward, and greedy generation that runs all of it for every token."""

    def __init__(self, model: torch.nn.Module, options: Options, generation: Generation) -> None:
        self.model = model
        self.token_input = options.token_input
        self.generation = generation

    def logits(self, inputs: Tensors, tokens: Tensor) -> Tensor:
        """Float [batch, length, vocabulary] for int64 tokens [batch, length]."""
        with torch.no_grad():
            return check_forward(self.model(**inputs, **{self.token_input: tokens}), tokens)

    def generate(self, inputs: Tensors) -> dict[str, Tensor]:
        """`tokens`, int64 [batch, length]; see `greedy` for where it stops and what it pads."""
        batch, *_ = next(iter(inputs.values())).shape
        return {"tokens": greedy(lambda t: self.logits(inputs, t), self.generation, batch=batch)}


def generation(options: Options, layers: int) -> Generation:
    """How the decoder is run, with the cache names of the ONNX ecosystem."""
    past, present = _names("past_key_values", layers), _names("present", layers)
    return Generation(
        decoder="decoder",
        token_input=options.token_input,
        logits_output=LOGITS,
        cache=dict(zip(past, present, strict=True)),
        start_token_ids=options.start_token_ids,
        end_token_ids=options.end_token_ids,
        pad_token_id=options.pad_token_id,
        max_new_tokens=options.max_new_tokens,
    )


def _names(stem: str, layers: int) -> tuple[str, ...]:
    return tuple(f"{stem}.{i}.{part}" for i in range(layers) for part in ("key", "value"))


def _encoder(model: torch.nn.Module, project: Project, options: Options) -> MemoryEncoder:
    return MemoryEncoder(
        model,
        decoder=options.decoder,
        inputs=tuple(project.file.inputs),
        token_input=options.token_input,
        start_token_ids=options.start_token_ids,
    )


def _encoder_component(encoder: MemoryEncoder, outputs: tuple[str, ...]) -> ComponentModule:
    return ComponentModule(
        name="encoder",
        module=encoder,
        bindings={name: name for name in encoder.inputs},
        outputs=outputs,
        prefix="model.",
    )


def _decoder_component(decoder: CachedDecoder, cross: tuple[str, ...]) -> ComponentModule:
    layers = len([name for name in cross if name != PADDING]) // 2
    return ComponentModule(
        name="decoder",
        module=decoder,
        bindings={name: f"encoder.{name}" for name in cross},
        outputs=(LOGITS, *_names("present", layers)),
        modality="text",
        prefix="model.",
    )


def _decoder_inputs(
    project: Project, generation: Generation, past: tuple[Tensor, ...]
) -> tuple[TensorSpec, ...]:
    batch = next(iter(project.file.inputs.values())).shape[0]
    specs = [TensorSpec(generation.token_input, "int64", (batch, "decoder_sequence_length"))]
    for name, tensor in zip(generation.cache, past, strict=True):
        _, heads, _, size = tensor.shape
        shape = (batch, heads, "past_decoder_sequence_length", size)
        specs.append(TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape))
    return tuple(specs)


def _example_step(
    whole: WholeModel, decoder: CachedDecoder, example: Tensors, known: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Tokens and past of a step in mid-sequence; ProjectError if its logits are not the model's.

    The sizes are at least 2 and differ from the batch and the memory length, because
    torch.export takes sizes of 0 and 1 for constants and equal sizes for one axis; strides
    of a slice for a relation between the two, so the tensors are contiguous.
    """
    batch, _, memory, _ = known[0].shape
    length, past = [size for size in range(2, 6) if size not in (batch, memory)][:2]
    embedding = attrgetter(decoder.paths.token_embedding)(whole.model)
    vocabulary = getattr(embedding, "num_embeddings", 2)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (batch, past + length), generator=generator)
    tokens = tokens.to(known[0].device)
    empty = [known[0][:, :, :0]] * len(whole.generation.cache)
    with torch.no_grad():
        before, *cache = decoder(*known, tokens[:, :past], *empty)
        after, *_ = decoder(*known, tokens[:, past:], *cache)
    check_same_logits(torch.cat([before, after], dim=1), whole.logits(example, tokens))
    return tokens[:, past:].contiguous(), tuple(tensor.contiguous() for tensor in cache)


recipe = EncoderDecoder()
