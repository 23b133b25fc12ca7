"""What recipe `encoder_decoder` asks of a project and its model, each refused in a sentence."""

from __future__ import annotations

import inspect
from operator import attrgetter

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.strict import nearest
from mmedge_export.cached_decoder import DecoderPaths

WHERE = "[recipe] in mmedge.toml"
OWN_RECIPE = "write a recipe of your own and register it under the entry point mmedge.recipes"
# The teacher-forced logits of both halves and of the model are sums in different orders.
TOLERANCE = 1e-4


class Options(DecoderPaths, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of `[recipe]` besides the paths; the tokens as mmedge.wiring.Generation has them.

    token_input: the argument of forward that takes the tokens so far, int64 [batch, length].
    """

    start_token_ids: tuple[int, ...]
    end_token_ids: tuple[int, ...]
    pad_token_id: int
    max_new_tokens: int
    token_input: str = "decoder_input_ids"


def check_inputs(model: nn.Module, project: Project, options: Options) -> None:
    """Raise ProjectError unless forward takes the declared inputs and the token input."""
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    required = [n for n, p in parameters.items() if p.default is p.empty and not _is_variadic(p)]
    given = [*project.file.inputs, options.token_input]
    unknown = [name for name in given if name not in parameters and not takes_any]
    missing = [name for name in required if name not in given]
    if unknown or missing:
        raise ProjectError(
            f"[inputs] and token_input do not match {type(model).__name__}.forward",
            found=", ".join(given),
            expected=f"forward({', '.join(parameters)})",
            where="mmedge.toml",
            hint=nearest(unknown[0], list(parameters)) if unknown else f"add {missing[0]!r}",
        )
    for name, table in project.file.inputs.items():
        if table.optional:
            raise ProjectError(
                f"[inputs.{name}] cannot be optional: one encoder reads all inputs",
                where="mmedge.toml",
                hint=OWN_RECIPE,
            )
        if name == options.token_input:
            raise ProjectError(
                f"[inputs.{name}] is the token input: generation provides it, not the caller",
                where="mmedge.toml",
                hint=f"remove [inputs.{name}]",
            )


def _is_variadic(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def check_options(model: nn.Module, options: Options) -> None:
    """Raise ProjectError where a path leads nowhere, or to something that cannot be cached."""
    _check_decoder(find(model, options.decoder, key="decoder"), options)
    embedding = find(model, options.token_embedding, key="token_embedding")
    if not isinstance(embedding, nn.Module):
        raise _wrong_kind("token_embedding", embedding, "a module, such as nn.Embedding")
    find(model, options.head, key="head")
    _check_generation(options, getattr(embedding, "num_embeddings", None))
    if options.position_embedding:
        table = find(model, options.position_embedding, key="position_embedding")
        _check_positions(table, options)


def find(model: nn.Module, path: str, *, key: str) -> nn.Module | Tensor:
    """The submodule, parameter or buffer at `path`; ProjectError names the nearest there is."""
    try:
        found = attrgetter(path)(model)
    except AttributeError:
        found = None
    if isinstance(found, (nn.Module, Tensor)):
        return found
    names = [name for name, _ in model.named_modules()] + list(model.state_dict())
    known = [name for name in names if name and name.count(".") == path.count(".")]
    raise ProjectError(
        f"{key} = {path!r}: {type(model).__name__} has nothing of that name",
        where=WHERE,
        hint=nearest(path, known or names[1:]),
    )


def _wrong_kind(key: str, found: object, expected: str) -> ProjectError:
    return ProjectError(
        f"{key} is not something that recipe encoder_decoder can use",
        found=f"{type(found).__module__}.{type(found).__qualname__}",
        expected=expected,
        where=WHERE,
        hint=OWN_RECIPE,
    )


def _check_decoder(decoder: object, options: Options) -> None:
    if not isinstance(decoder, nn.TransformerDecoder):
        raise _wrong_kind("decoder", decoder, "torch.nn.TransformerDecoder")
    for index, layer in enumerate(decoder.layers):
        for name in ("self_attn", "multihead_attn"):
            attention = getattr(layer, name, None)
            path = f"{options.decoder}.layers.{index}.{name}"
            if type(attention) is not nn.MultiheadAttention:
                raise _wrong_kind(path, attention, "torch.nn.MultiheadAttention")
            if attention.bias_k is not None or attention.add_zero_attn:
                raise _wrong_kind(path, attention, "one without add_bias_kv and add_zero_attn")
            if attention.in_proj_weight is None:
                raise _wrong_kind(path, attention, "one whose kdim and vdim are its embed_dim")


def _check_generation(options: Options, vocabulary: int | None) -> None:
    if not options.start_token_ids or not options.end_token_ids or options.max_new_tokens < 1:
        raise ProjectError(
            "generation needs a start token, an end token and at least one new token",
            found=f"start_token_ids={list(options.start_token_ids)}, "
            f"end_token_ids={list(options.end_token_ids)}, "
            f"max_new_tokens={options.max_new_tokens}",
            where=WHERE,
        )
    ids = (*options.start_token_ids, *options.end_token_ids, options.pad_token_id)
    if vocabulary is not None and not all(0 <= token < vocabulary for token in ids):
        raise ProjectError(
            "a token id is not in the vocabulary",
            found=list(ids),
            expected=f"0 to {vocabulary - 1}, the rows of {options.token_embedding}",
            where=WHERE,
        )


def _check_positions(table: nn.Module | Tensor, options: Options) -> None:
    rows = table.num_embeddings if isinstance(table, nn.Embedding) else 0
    if isinstance(table, Tensor) and table.dim() in (2, 3):
        rows = table.numel() // table.shape[-1]
        rows = rows if rows in table.shape[:-1] else 0
    if not rows:
        raise _wrong_kind(
            "position_embedding", table, "an nn.Embedding, or a tensor [1, positions, dim]"
        )
    # The last token generated is not fed back.
    needed = len(options.start_token_ids) + options.max_new_tokens - 1
    if rows < needed:
        raise ProjectError(
            f"{options.position_embedding} has no position for the last tokens",
            found=f"{rows} positions",
            expected=f"at least {needed}: the start tokens and max_new_tokens less one",
            where=WHERE,
            hint=f"max_new_tokens = {rows - len(options.start_token_ids) + 1}",
        )


def check_forward(result: object, tokens: Tensor) -> Tensor:
    """What forward returned, if it is logits for `tokens`; else ProjectError."""
    if isinstance(result, Tensor) and result.dim() == 3 and result.shape[:2] == tokens.shape:
        return result
    shape = list(result.shape) if isinstance(result, Tensor) else ""
    raise ProjectError(
        "forward does not return logits for each token",
        found=f"{type(result).__name__} {shape}".strip(),
        expected=f"a tensor [{', '.join(map(str, tokens.shape))}, vocabulary]",
        where="the model's forward",
    )


def check_same_logits(rebuilt: Tensor, own: Tensor) -> None:
    """Raise ProjectError unless the two halves' logits are those of the user's forward."""
    same = rebuilt.shape == own.shape and torch.allclose(
        rebuilt, own, rtol=TOLERANCE, atol=TOLERANCE
    )
    if same:
        return
    found = f"logits {list(rebuilt.shape)}, forward's {list(own.shape)}"
    if rebuilt.shape == own.shape:
        found = f"largest difference {(rebuilt - own).abs().max().item():.2g}"
    raise ProjectError(
        "the decoder rebuilt from [recipe] does not give the logits of the model's own forward",
        found=found,
        expected=f"equal within {TOLERANCE}",
        where=WHERE,
        hint="does forward do something that [recipe] does not say, such as scaling the embedding "
        "(embedding_scale), adding positions (position_embedding), a norm around the decoder, "
        f"a target mask that is not causal? Then {OWN_RECIPE}",
    )
