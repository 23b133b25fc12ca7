"""How a decoder generates: the loop around its graph, as plain data."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from mmedge.errors import ProjectError

if TYPE_CHECKING:
    from mmedge.wiring import ComponentSpec

Source = str

# Answers are compared with the model's, and measured, up to so many tokens. A later token depends
# on all before it, and thousands of tokens of eager PyTorch take the better part of an hour.
COMPARED_TOKENS = 64


class LogitsRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a checkpoint's generation config does to the logits before a token is chosen.

    The names, the meaning and the order of application are those of transformers'
    `GenerationConfig` (5.23) and its logits processors; ValueError for what they would refuse.
    """

    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    min_length: int = 0
    min_new_tokens: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can have no meaning."""
        for name in ("repetition_penalty", "encoder_repetition_penalty"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} is no positive number")
        for name in ("no_repeat_ngram_size", "min_length", "min_new_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is negative")
        if not all(self.bad_words_ids):
            raise ValueError("bad_words_ids has a word of no tokens")
        words = (*self.bad_words_ids, self.forced_eos_token_id, (self.forced_bos_token_id or 0,))
        if any(token < 0 for word in words for token in word):
            raise ValueError("a token that is banned or forced is negative")


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A decoder with a key-value cache, run token by token after every other component.

    One graph for all: the first call has the whole prompt and an empty past.

    token_input: the decoder's input for the new tokens: their ids, int64 [batch, length], or,
        where there is an `embed`, their embeddings [batch, length, hidden].
    cache: the decoder's input that takes the past -> its output that returns past + present.
    start_token_ids: the tokens every sequence starts with where no `prompt` is given (they are
        not part of the answer).
    prompt: source of the ids that are continued, int64 [batch, length]; not part of the answer.
    prompt_mask: source, int64 [batch, length]: 0 where the prompt is padded, on the left.
    prompt_embeddings: source, [batch, length, hidden]: the prompt as the decoder takes it, with
        images and sounds already in their places. Without it, the prompt goes through `embed`.
    embed: the component that makes token ids into embeddings; one input, one output. It is a
        component like any other, but that its input may be left unbound where nothing else
        needs what it makes.
    token_types_input: the decoder's input int64 [batch, past + length] that says of what kind each
        token is (part of a prefix, of an image), where what a token sees depends on it.
    prompt_token_types: source of the prompt's, int64 [batch, length]; new tokens are of the kind
        `new_token_type`.
    encoder_ids: source of the ids that an encoder has read, int64 [batch, length], for
        `encoder_repetition_penalty`; without it, the prompt's.
    mask_input: the decoder's input int64 [batch, past + length] that is 0 at padding.
    position_input: the decoder's input int64 [batch, length], or [axes, batch, length].
    prompt_positions: source of the prompt's positions, of that shape. Without it they count the
        prompt's unmasked tokens from 0. A new token's position is, along every axis, one more
        than the largest position before it.
    capacity: None where the cache grows. Otherwise the past has room for that many tokens along
        a fixed axis; a call writes its tokens' entries where `cache_position_input` says and
        returns the whole, so that past and present may be one buffer: the graph must not read an
        entry of the past that it has overwritten. `mask_input` is then as long as the decoder
        declares it: [batch, past + length], or [batch, capacity] with 0 where nothing is written.
    cache_position_input: the decoder's input int64 [length]: the places of the new tokens in the
        cache, counted from 0.
    rules: what is done to the logits before a token is chosen, greedily or not.
    """

    decoder: str
    token_input: str
    logits_output: str
    cache: dict[str, str]
    start_token_ids: tuple[int, ...]
    end_token_ids: tuple[int, ...]
    pad_token_id: int
    max_new_tokens: int
    prompt: Source | None = None
    prompt_mask: Source | None = None
    prompt_embeddings: Source | None = None
    embed: str | None = None
    mask_input: str | None = None
    position_input: str | None = None
    prompt_positions: Source | None = None
    token_types_input: str | None = None
    prompt_token_types: Source | None = None
    new_token_type: int = 0
    encoder_ids: Source | None = None
    capacity: int | None = None
    cache_position_input: str | None = None
    rules: LogitsRules = LogitsRules()

    @property
    def fed(self) -> frozenset[str]:
        """The decoder's inputs that the generating loop provides: they have no binding."""
        places = (self.mask_input, self.position_input, self.cache_position_input)
        named = (self.token_input, *self.cache, *places, self.token_types_input)
        return frozenset(name for name in named if name is not None)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the generating loop itself reads, besides the decoder's bindings."""
        prompt = (self.prompt, self.prompt_mask, self.prompt_embeddings, self.prompt_positions)
        read = (*prompt, self.prompt_token_types, self.encoder_ids)
        return tuple(source for source in read if source is not None)

    @property
    def required(self) -> list[Source]:
        """Those of `sources` without which there is no beginning."""
        begin = self.prompt or self.prompt_embeddings
        return [] if begin is None or self.start_token_ids else [begin]

    @property
    def compared_tokens(self) -> int:
        """How many tokens of an answer are compared with the model's, and measured."""
        return min(self.max_new_tokens, COMPARED_TOKENS)

    @property
    def tokens(self) -> Source:
        """The source that generation makes: int64 [batch, new tokens]."""
        return f"{self.decoder}.tokens"


def check_generation(
    generation: Generation, components: Iterable[ComponentSpec], sources: Collection[Source]
) -> None:
    """Raise ProjectError unless the components have what `generation` names.

    sources: all that the wiring makes.
    """
    known = {component.name: component for component in components}
    if generation.decoder not in known:
        raise ProjectError(f"the decoder {generation.decoder!r} is not a component")
    decoder = known[generation.decoder]
    takes, gives = ({t.name for t in side} for side in (decoder.inputs, decoder.outputs))
    lost = set(generation.fed) - takes
    lost |= {generation.logits_output, *generation.cache.values()} - gives
    if lost:
        raise ProjectError(f"the decoder {decoder.name!r} has no {', '.join(sorted(lost))}")
    begin = (generation.prompt, generation.prompt_embeddings, *generation.start_token_ids)
    if all(part is None for part in begin):
        raise ProjectError("generation has no start token and no prompt: nothing to begin with")
    if generation.embed is not None:
        _check_embed(generation, known.get(generation.embed))
    elif generation.prompt_embeddings is not None:
        raise ProjectError("the prompt has embeddings, and nothing embeds the new tokens")
    if generation.capacity is not None:
        _check_capacity(generation, decoder)
    if (generation.token_types_input is None) != (generation.prompt_token_types is None):
        raise ProjectError(
            "token types are told for the prompt and for the decoder, or for neither"
        )
    for source in generation.sources:
        if source not in sources:
            raise ProjectError(f"generation reads {source!r}, which nothing makes")


def _check_embed(generation: Generation, embed: ComponentSpec | None) -> None:
    if embed is None or embed.name == generation.decoder:
        raise ProjectError(f"the embedding {generation.embed!r} is not a component")
    if (len(embed.inputs), len(embed.outputs)) != (1, 1):
        raise ProjectError(
            f"the embedding {embed.name!r} is no function of the tokens",
            found=f"{len(embed.inputs)} inputs, {len(embed.outputs)} outputs",
            expected="one of each",
        )


def _check_capacity(generation: Generation, decoder: ComponentSpec) -> None:
    if generation.cache_position_input is None:
        raise ProjectError("a cache of fixed capacity needs a cache_position_input")
    for spec in decoder.inputs:
        if spec.name in generation.cache and generation.capacity not in spec.shape:
            raise ProjectError(
                f"the cache {spec.name!r} has no axis of the declared capacity",
                found=spec,
                expected=generation.capacity,
            )
