"""A tiny vision-language model of hand-written ONNX graphs, and bundles without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper, parser

from mmedge.runtime.manifest import MANIFEST, SCHEMA, Engine, Golden, Manifest, sealed
from mmedge.storage import sha256_file
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ComponentSpec, Generation, ModelInput, Wiring

VOCABULARY, HIDDEN, CAPACITY, PLACES = 12, 8, 24, 64
PAD, START, END, IMAGE = 0, 1, 2, 7
WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "red",
    "green",
    "blue",
    "many",
    "<image>",
    "what",
    "is",
    "one",
    "?",
]
_rng = np.random.default_rng(3)
WEIGHTS: dict[str, Array] = {
    "embedding": _rng.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32),
    "positions": _rng.normal(size=(PLACES, HIDDEN)).astype(np.float32),
    "head": _rng.normal(size=(HIDDEN, VOCABULARY)).astype(np.float32),
    "sight": _rng.normal(size=(3, HIDDEN)).astype(np.float32),
}

VISION = """vision_encoder (float[batch, 3] pixel_values) => (float[batch, 8] image_features)
{ image_features = MatMul(pixel_values, sight) }"""
EMBED = """embed_tokens (int64[batch, length] input_ids) => (float[batch, length, 8] inputs_embeds)
{ inputs_embeds = Gather(embedding, input_ids) }"""
FUSION = """fusion (int64[batch, length] input_ids, float[batch, length, 8] inputs_embeds,
                    float[batch, 8] image_features) => (float[batch, length, 8] prompt_embeds)
{
    image = Constant<value = int64 {7}>()
    one = Constant<value = int64[1] {1}>()
    last = Constant<value = int64[1] {-1}>()
    is_image = Equal(input_ids, image)
    where = Unsqueeze(is_image, last)
    features = Unsqueeze(image_features, one)
    prompt_embeds = Where(where, features, inputs_embeds)
}"""
# One head of attention over all tokens before, by their place in the cache; logits of every token.
ATTENTION = """
    here = Gather(positions, position_ids)
    new = Add(inputs_embeds, here)
    {write}
    zero = Constant<value = int64 {{0}}>()
    step = Constant<value = int64 {{1}}>()
    axis = Constant<value = int64[1] {{1}}>()
    shape = Shape(present)
    total = Gather(shape, step)
    all = Range(zero, total, step)
    newest = Unsqueeze(places, axis)
    earlier = LessOrEqual(all, newest)
    visible = Cast<to = 9>(attention_mask)
    by_sequence = Unsqueeze(visible, axis)
    allowed = And(earlier, by_sequence)
    keys = Transpose<perm = [0, 2, 1]>(present)
    scores = MatMul(new, keys)
    nothing = Constant<value = float {{-1e9}}>()
    masked = Where(allowed, scores, nothing)
    weights = Softmax<axis = -1>(masked)
    context = MatMul(weights, present)
    mixed = Tanh(context)
    logits = MatMul(mixed, head)
"""
GROWING = """decoder_model_merged (float[batch, length, 8] inputs_embeds,
    int64[batch, total] attention_mask, int64[batch, length] position_ids,
    float[batch, past, 8] past) => (float[batch, length, 12] logits, float[batch, total, 8] present)
{""" + ATTENTION.format(write="""
    present = Concat<axis = 1>(past, new)
    from = Shape<start = 1, end = 2>(past)
    until = Shape<start = 1, end = 2>(present)
    none = Constant<value = int64[0] {}>()
    first = Squeeze(from)
    end = Squeeze(until)
    one = Constant<value = int64 {1}>()
    places = Range(first, end, one)""") + "}"  # fmt: skip
FIXED = """decoder_model_merged (float[batch, length, 8] inputs_embeds,
    int64[batch, 24] attention_mask, int64[batch, length] position_ids,
    int64[length] cache_position, float[batch, 24, 8] past)
    => (float[batch, length, 12] logits, float[batch, 24, 8] present)
{""" + ATTENTION.format(write="""
    places = Identity(cache_position)
    around = Constant<value = int64[3] {1, -1, 1}>()
    column = Reshape(cache_position, around)
    extent = Shape(new)
    index = Expand(column, extent)
    present = ScatterElements<axis = 1>(past, index, new)""") + "}"  # fmt: skip


def save_graph(path: Path, text: str) -> Path:
    """The text graph with those of WEIGHTS that it names."""
    model = parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + text)
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & WEIGHTS.keys()):
        model.graph.initializer.append(numpy_helper.from_array(WEIGHTS[name], name))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _spec(name: str, *shape: str | int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


IDS = _spec("input_ids", "batch", "length", dtype="int64")
MASK = _spec("attention_mask", "batch", "length", dtype="int64")
PIXELS = _spec("pixel_values", "batch", 3)
FEATURES = _spec("image_features", "batch", HIDDEN)
EMBEDS = _spec("inputs_embeds", "batch", "length", HIDDEN)
POSITIONS = _spec("position_ids", "batch", "length", dtype="int64")
GENERATION = Generation(
    decoder="decoder_model_merged",
    token_input="inputs_embeds",
    logits_output="logits",
    cache={"past": "present"},
    start_token_ids=(),
    end_token_ids=(END,),
    pad_token_id=PAD,
    max_new_tokens=16,
    prompt="input_ids",
    prompt_mask="attention_mask",
    prompt_embeddings="fusion.prompt_embeds",
    embed="embed_tokens",
    mask_input="attention_mask",
    position_input="position_ids",
)


def vision_language(*, capacity: int | None = None) -> Wiring:
    """Image -> encoder; ids -> embeddings; both -> the prompt that the decoder continues."""
    growing = (
        _spec("attention_mask", "batch", "total", dtype="int64"),
        POSITIONS,
        _spec("past", "batch", "past", HIDDEN),
    )
    fixed = (
        _spec("attention_mask", "batch", CAPACITY, dtype="int64"),
        POSITIONS,
        _spec("cache_position", "length", dtype="int64"),
        _spec("past", "batch", CAPACITY, HIDDEN),
    )
    generation = GENERATION
    if capacity is not None:
        generation = msgspec.structs.replace(
            GENERATION, capacity=capacity, cache_position_input="cache_position"
        )
    decoder = ComponentSpec(
        "decoder_model_merged",
        "text",
        (EMBEDS, *(growing if capacity is None else fixed)),
        (
            _spec("logits", "batch", "length", VOCABULARY),
            _spec("present", "batch", "total" if capacity is None else CAPACITY, HIDDEN),
        ),
        {},
    )
    fusion = {
        "input_ids": "input_ids",
        "inputs_embeds": "embed_tokens.inputs_embeds",
        "image_features": "vision_encoder.image_features",
    }
    prompt = _spec("prompt_embeds", "batch", "length", HIDDEN)
    return Wiring(
        inputs=(
            ModelInput(PIXELS, modality="image", optional=True),
            ModelInput(
                IDS, modality="text", preprocess={"kind": "text", "tokenizer": "tokenizer.json"}
            ),
            ModelInput(MASK, modality="text", optional=True),
        ),
        components=(
            ComponentSpec(
                "vision_encoder", "image", (PIXELS,), (FEATURES,), {"pixel_values": "pixel_values"}
            ),
            ComponentSpec("embed_tokens", "text", (IDS,), (EMBEDS,), {"input_ids": "input_ids"}),
            ComponentSpec("fusion", "multimodal", (IDS, EMBEDS, FEATURES), (prompt,), fusion),
            decoder,
        ),
        outputs={"answer": "decoder_model_merged.tokens"},
        axes={"batch": Axis(1, 1, 8), "length": Axis(1, 4, 32)},
        generation=generation,
    )


def graphs(*, capacity: int | None = None) -> dict[str, str]:
    """Component -> its text graph."""
    decoder = GROWING if capacity is None else FIXED
    return {
        "vision_encoder": VISION,
        "embed_tokens": EMBED,
        "fusion": FUSION,
        "decoder_model_merged": decoder,
    }


def tokenizer_json(path: Path) -> Path:
    """One token for each of WORDS; those in brackets are special."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([word for word in WORDS if word.startswith("<")])
    tokenizer.save(str(path))
    return path


def write_bundle(directory: Path, wiring: Wiring, texts: Mapping[str, str], **fields: Any) -> Path:
    """A bundle of `texts`, graph by component; other files that it needs may lie there already."""
    for name, text in texts.items():
        save_graph(directory / "engines" / f"{name}.onnx", text)
    np.savez(directory / "golden.npz")
    (directory / MANIFEST).unlink(missing_ok=True)
    files = {
        path.relative_to(directory).as_posix(): sha256_file(path)
        for path in directory.rglob("*")
        if path.is_file()
    }
    manifest = Manifest(
        schema=SCHEMA,
        name="tiny",
        created="2026-01-01T00:00:00+00:00",
        versions={},
        target="cpu",
        checkpoint_sha256="",
        wiring=wiring,
        engines={
            name: (Engine("onnxruntime", f"engines/{name}.onnx", "fp32", {}),) for name in texts
        },
        golden=Golden("golden.npz", dict.fromkeys(wiring.outputs, 0.0)),
        files=files,
        **fields,
    )
    (directory / MANIFEST).write_bytes(msgspec.json.encode(sealed(manifest)))
    return directory


def by_hand(
    ids: Array,
    mask: Array,
    *,
    image: Array | None = None,
    limit: int,
    ends: tuple[int, ...] = (END,),
) -> list[list[int]]:
    """The greedy answers, sequence by sequence without padding or cache, in numpy."""
    answers = []
    for i, (row, seen) in enumerate(zip(ids, mask, strict=True)):
        prefix = WEIGHTS["embedding"][row[seen != 0]].copy()
        if image is not None:
            prefix[row[seen != 0] == IMAGE] = image[i] @ WEIGHTS["sight"]
        answer: list[int] = []
        while len(answer) < limit and not (answer and answer[-1] in ends):
            rows = [prefix, WEIGHTS["embedding"][answer]]
            keys = np.concatenate(rows) + WEIGHTS["positions"][: len(prefix) + len(answer)]
            scores = keys @ keys[-1]
            weights = np.exp(scores - scores.max())
            context = weights @ keys / weights.sum()
            answer.append(int((np.tanh(context) @ WEIGHTS["head"]).argmax()))
        answers.append(answer)
    return answers


@dataclass(frozen=True)
class VisionLanguage:
    """The tiny model: its bundles, one for each kind of cache (not to be changed), and helpers."""

    growing: Path
    fixed: Path
    by_hand: Callable[..., list[list[int]]] = by_hand
    wiring: Callable[..., Wiring] = vision_language
    write: Callable[..., Path] = write_bundle
    graphs: Callable[..., dict[str, str]] = graphs
    save_graph: Callable[[Path, str], Path] = save_graph
    tokenizer_json: Callable[[Path], Path] = tokenizer_json
    capacity: int = CAPACITY
    hidden: int = HIDDEN
    end: int = END
    pad: int = PAD
    image: int = IMAGE


def write_both(directory: Path) -> VisionLanguage:
    """The model as two bundles below `directory`."""
    paths = []
    for name, capacity in (("growing", None), ("fixed", CAPACITY)):
        path = directory / f"{name}.mmedge"
        path.mkdir()
        tokenizer_json(path / "tokenizer.json")
        wiring = vision_language(capacity=capacity)
        paths.append(write_bundle(path, wiring, graphs(capacity=capacity)))
    return VisionLanguage(*paths)
