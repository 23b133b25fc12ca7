"""Speech to text: encoder-decoders and CTC."""

from __future__ import annotations

from typing import Any

from . import asking, tokenizers
from .generation import generation
from .specimen import Built, specimen

ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
# Of wav2vec 2.0 and its heirs: from the waveform to features, and to their places.
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (24,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
BOTH_SIDES: dict[str, Any] = {
    f"{side}_{what}": size
    for side in ("encoder", "decoder")
    for what, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
}


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
        **BOTH_SIDES,
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
        **ENCODER, **CONVOLUTIONS, vocab_size=len(tokenizer), **tokenizers.ids(tokenizer)
    )
    features = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    return Wav2Vec2ForCTC(config), Wav2Vec2Processor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",))
def hubert_ctc() -> Built:
    from transformers import (
        HubertConfig,
        HubertForCTC,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
    )

    tokenizer = tokenizers.letters()
    # The large variant: layer norms in the convolutions and before each block, and a mask.
    config = HubertConfig(
        **ENCODER,
        **CONVOLUTIONS,
        vocab_size=len(tokenizer),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        **tokenizers.ids(tokenizer),
    )
    features = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    return HubertForCTC(config), Wav2Vec2Processor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",))
def wavlm_ctc() -> Built:
    from transformers import (
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
        WavLMConfig,
        WavLMForCTC,
    )

    tokenizer = tokenizers.letters()
    config = WavLMConfig(
        **ENCODER, **CONVOLUTIONS, vocab_size=len(tokenizer), **tokenizers.ids(tokenizer)
    )
    features = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    return WavLMForCTC(config), Wav2Vec2Processor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",))
def wav2vec2_bert_ctc() -> Built:
    from transformers import (
        SeamlessM4TFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertForCTC,
        Wav2Vec2BertProcessor,
    )

    tokenizer = tokenizers.letters()
    config = Wav2Vec2BertConfig(
        **ENCODER,
        vocab_size=len(tokenizer),
        feature_projection_input_dim=32,
        left_max_position_embeddings=8,
        right_max_position_embeddings=4,
        conv_depthwise_kernel_size=7,
        **tokenizers.ids(tokenizer),
    )
    features = SeamlessM4TFeatureExtractor(feature_size=16, num_mel_bins=16, stride=2)
    return Wav2Vec2BertForCTC(config), Wav2Vec2BertProcessor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",), embedding=0.05, seed=2)
def speech_to_text() -> Built:
    from transformers import (
        Speech2TextConfig,
        Speech2TextFeatureExtractor,
        Speech2TextForConditionalGeneration,
        Speech2TextProcessor,
    )

    # Upstream's own tokenizer class wants sentencepiece.
    tokenizer = tokenizers.xlm_roberta()
    config = Speech2TextConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        **BOTH_SIDES,
        max_source_positions=200,
        max_target_positions=64,
        conv_channels=40,
        input_feat_per_channel=16,
        decoder_start_token_id=tokenizer.eos_token_id,
        **tokenizers.ids(tokenizer),
    )
    model = Speech2TextForConditionalGeneration(config)
    generation(model, tokenizer, decoder_start_token_id=tokenizer.eos_token_id)
    features = Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16)
    return model, Speech2TextProcessor(features, tokenizer)


@specimen(asking.clip, feeds=("audio",))
def moonshine() -> Built:
    from transformers import (
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
    )

    tokenizer = tokenizers.llama()
    start = {"decoder_start_token_id": tokenizer.bos_token_id}
    config = MoonshineConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=4,
        decoder_num_attention_heads=4,
        max_position_embeddings=64,
        **start,
        **tokenizers.ids(tokenizer),
    )
    model = generation(MoonshineForConditionalGeneration(config), tokenizer, **start)
    features = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    return model, Wav2Vec2Processor(features, tokenizer)


@specimen(asking.audio_alone, feeds=("audio",), gain=0.7)
def speecht5() -> Built:
    from transformers import (
        SpeechT5Config,
        SpeechT5FeatureExtractor,
        SpeechT5ForSpeechToText,
        SpeechT5Processor,
    )

    # Upstream's own tokenizer class wants sentencepiece.
    tokenizer = tokenizers.xlm_roberta()
    config = SpeechT5Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        **BOTH_SIDES,
        **CONVOLUTIONS,
        encoder_max_relative_position=20,
        max_text_positions=64,
        decoder_start_token_id=tokenizer.eos_token_id,
        # With the head tied, as upstream's, random weights write one token for ever.
        tie_word_embeddings=False,
        **tokenizers.ids(tokenizer),
    )
    model = SpeechT5ForSpeechToText(config)
    generation(model, tokenizer, decoder_start_token_id=tokenizer.eos_token_id)
    return model, SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer)
