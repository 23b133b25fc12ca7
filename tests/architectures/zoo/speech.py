"""Speech to text: encoder-decoders and CTC."""

from __future__ import annotations

from . import asking, tokenizers
from .generation import generation
from .specimen import Built, specimen


@specimen(asking.speech, feeds=("audio",), seed=1)
def whisper() -> Built:
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    tokenizer = tokenizers.whisper()
    special = tokenizer.convert_tokens_to_ids
    ids = {
        "bos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": special("<|startoftranscript|>"),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_source_positions=100,
        max_target_positions=64,
        **ids,
    )
    model = generation(
        WhisperForConditionalGeneration(config),
        tokenizer,
        **ids,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": special(f"<|{code}|>") for code in tokenizers.LANGUAGES},
        task_to_id={task: special(f"<|{task}|>") for task in ("translate", "transcribe")},
        language="en",
        task="transcribe",
        no_timestamps_token_id=special("<|notimestamps|>"),
        prev_sot_token_id=special("<|startofprev|>"),
        # A trained model writes no timestamp after <|notimestamps|>; a random one has to be told.
        suppress_tokens=[1, 2, 7, *range(special("<|startoftranscript|>"), len(tokenizer))],
        begin_suppress_tokens=[special("Ġ"), tokenizer.eos_token_id],
    )
    # Two seconds rather than thirty.
    features = WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    return model, WhisperProcessor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",))
def wav2vec2_ctc() -> Built:
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    tokenizer = tokenizers.letters()
    config = Wav2Vec2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(24,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        **tokenizers.ids(tokenizer),
    )
    features = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    return Wav2Vec2ForCTC(config), Wav2Vec2Processor(features, tokenizer)
