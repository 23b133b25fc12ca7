"""The rules for logits that a run of `generate` really went by, as mmedge's `LogitsRules`.

Read from the logits processors themselves, not from the generation config: some architectures
make processors of their own (Whisper moves `suppress_tokens` from one to the other). Names and
attributes are those of transformers 5.23, generation/logits_process.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mmedge.errors import ProjectError
from mmedge.wiring import LogitsRules

Fields = dict[str, Any]

_READ: dict[str, Callable[[Any], Fields]] = {
    "RepetitionPenaltyLogitsProcessor": lambda p: {"repetition_penalty": float(p.penalty)},
    "EncoderRepetitionPenaltyLogitsProcessor": lambda p: {
        "encoder_repetition_penalty": 1 / float(p.penalty)
    },
    "NoRepeatNGramLogitsProcessor": lambda p: {"no_repeat_ngram_size": int(p.ngram_size)},
    "NoBadWordsLogitsProcessor": lambda p: {"bad_words_ids": tuple(map(tuple, p.bad_word_ids))},
    "MinLengthLogitsProcessor": lambda p: {"min_length": int(p.min_length)},
    "MinNewTokensLengthLogitsProcessor": lambda p: {"min_new_tokens": int(p.min_new_tokens)},
    "ForcedBOSTokenLogitsProcessor": lambda p: {"forced_bos_token_id": int(p.bos_token_id)},
    "ForcedEOSTokenLogitsProcessor": lambda p: {"forced_eos_token_id": token_ids(p.eos_token_id)},
    "SuppressTokensLogitsProcessor": lambda p: {"suppress_tokens": token_ids(p.suppress_tokens)},
    "SuppressTokensAtBeginLogitsProcessor": lambda p: {
        "begin_suppress_tokens": token_ids(p.begin_suppress_tokens)
    },
    # It mends logits that are not finite; the runtime refuses those.
    "InfNanRemoveLogitsProcessor": lambda p: {},
}


def used_rules(processors: Iterable[Any], *, prompt_length: int) -> LogitsRules:
    """The rules; ProjectError names a processor that has no such rule.

    prompt_length: tokens that generation started from.
    """
    fields: Fields = {}
    for processor in processors:
        name = type(processor).__name__
        if name not in _READ:
            raise ProjectError(
                f"generation goes by {name}, which mmedge does not know",
                expected=f"one of {', '.join(sorted(_READ))}",
                where="generation_config.json",
                hint="remove from generation_config.json what asks for it",
            )
        fields |= _READ[name](processor)
        _check_begin(processor, fields, prompt_length)
    # `generate` says the same twice, the second time for the length of this one prompt.
    if fields.get("min_length") == prompt_length + fields.get("min_new_tokens", 0):
        del fields["min_length"]
    return LogitsRules(**fields)


def _check_begin(processor: Any, fields: Fields, prompt_length: int) -> None:
    """Some tokens are banned at the first free place only: it must be the one that mmedge means."""
    begin = getattr(processor, "begin_index", None)
    forced = prompt_length <= 1 and "forced_bos_token_id" in fields
    if begin is not None and begin != prompt_length + forced:
        raise ProjectError(
            "begin_suppress_tokens are banned elsewhere than behind the prompt",
            found=f"at position {begin}",
            expected=f"position {prompt_length + forced}",
            where="generation_config.json",
        )


def token_ids(value: Any) -> tuple[int, ...]:
    """One id, several, or a tensor of them, as a tuple."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    return tuple(int(v) for v in listed) if isinstance(listed, list | tuple) else (int(listed),)
