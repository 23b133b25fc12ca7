"""An audio encoder whose features take the place of audio tokens in a decoder's prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import tokenizers
from .generation import generation
from .samples import SAMPLING_RATE, Sample
from .sizes import decoder
from .specimen import Built, specimen

MELS = 16
# Two seconds rather than thirty: places after the encoder's stride of two.
SECONDS, PLACES = 2, 100


def spoken_question(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A clip and a question about it."""
    content = [{"type": "audio"}, {"type": "text"}]
    turns = [
        [{"role": "user", "content": [content[0], {**content[1], "text": sample.text}]}]
        for sample in samples
    ]
    processor.tokenizer.padding_side = "left"
    return processor(
        text=[processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns],
        audio=[sample.audio for sample in samples],
        text_kwargs={"padding": True},
        audio_kwargs={"sampling_rate": SAMPLING_RATE},
        return_tensors="pt",
    )


def whisper_features() -> Any:
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=MELS, chunk_length=SECONDS)


@specimen(spoken_question, feeds=("audio", "text"))
def qwen2_audio() -> Built:
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
    )

    tokenizer = tokenizers.qwen2("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    audio = {
        "num_mel_bins": MELS,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "d_model": 32,
        "max_source_positions": PLACES,
    }
    config = Qwen2AudioConfig(
        audio_config=audio,
        text_config=decoder("qwen2", tokenizer),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = generation(Qwen2AudioForConditionalGeneration(config), tokenizer)
    return model, Qwen2AudioProcessor(whisper_features(), tokenizer)


FLAMINGO_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'audio' %}{{ '<sound>' }}"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@specimen(spoken_question, feeds=("audio", "text"))
def audio_flamingo3() -> Built:
    from transformers import (
        AudioFlamingo3Config,
        AudioFlamingo3ForConditionalGeneration,
        AudioFlamingo3Processor,
    )

    tokenizer = tokenizers.qwen2("<sound>")
    audio = {
        "num_mel_bins": MELS,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_size": 32,
        "max_source_positions": PLACES,
    }
    config = AudioFlamingo3Config(
        audio_config=audio,
        text_config=decoder("qwen2", tokenizer),
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    model = generation(AudioFlamingo3ForConditionalGeneration(config), tokenizer)
    return model, AudioFlamingo3Processor(
        whisper_features(), tokenizer, chat_template=FLAMINGO_CHAT
    )
