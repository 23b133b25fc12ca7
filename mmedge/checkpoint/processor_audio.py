"""A feature extractor's file as the table of one of our audio methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmedge.checkpoint.processor_sources import AUDIO_CLASSES, ProcessorSources, UnsupportedError

Table = dict[str, Any]


def audio_table(sources: ProcessorSources) -> tuple[Table, list[str]]:
    """(the table of `[audio]`, notes); UnsupportedError names an unknown feature extractor."""
    config = {key: value for key, value in sources.audio.items() if value is not None}
    name = sources.audio_class
    if config.get("padding_side", "right") != "right":
        raise UnsupportedError("sounds padded on the left are not supported")
    if name in METHODS:
        return METHODS[name](config), _dither(config)
    if name == "ClapFeatureExtractor":
        note = "where upstream draws a crop of a long sound at random, the middle one is taken"
        return _clap(config), [note]
    if name == "Wav2Vec2FeatureExtractor":
        return _waveform(config, sources.config), []
    known = ", ".join(AUDIO_CLASSES)
    raise UnsupportedError(
        f"the feature extractor {name or '(unnamed)'} is not known to mmedge; known: {known}"
    )


def _log_mel(config: Table) -> Table:
    rate = int(config.get("sampling_rate", 16_000))
    return {
        "method": "log_mel",
        "sample_rate": rate,
        "samples": int(config.get("chunk_length", 30)) * rate,
        "mels": int(config.get("feature_size", 80)),
        "window": int(config.get("n_fft", 400)),
        "hop": int(config.get("hop_length", 160)),
        "padding_value": float(config.get("padding_value", 0.0)),
        "normalise": bool(config.get("do_normalize", False)),
        "mask": bool(config.get("return_attention_mask", False)),
    }


def _ast(config: Table) -> Table:
    normalised = bool(config.get("do_normalize", True))
    return {
        "method": "fixed_filter_bank",
        "sample_rate": int(config.get("sampling_rate", 16_000)),
        "frames": int(config.get("max_length", 1024)),
        "mels": int(config.get("num_mel_bins", 128)),
        **(_ast_statistics(config) if normalised else {}),
    }


def _ast_statistics(config: Table) -> Table:
    """AudioSet's, where the file gives no others."""
    mean, std = config.get("mean", -4.2677393), config.get("std", 4.5689974)
    return {"mean": float(mean), "std": float(std)}


def _speech_to_text(config: Table) -> Table:
    normalised = bool(config.get("do_ceptral_normalize", True))
    return {
        "method": "filter_bank",
        "sample_rate": int(config.get("sampling_rate", 16_000)),
        "mels": int(config.get("num_mel_bins", 80)),
        "centre": normalised and bool(config.get("normalize_means", True)),
        "scale": normalised and bool(config.get("normalize_vars", True)),
        "padding_value": float(config.get("padding_value", 0.0)),
    }


def _seamless(config: Table) -> Table:
    return {
        "method": "stacked_filter_bank",
        "sample_rate": int(config.get("sampling_rate", 16_000)),
        "mels": int(config.get("num_mel_bins", 80)),
        "stride": int(config.get("stride", 2)),
        "padding_value": float(config.get("padding_value", 0.0)),
    }


def _dither(config: Table) -> list[str]:
    if not config.get("dither"):
        return []
    return [f"dither {config['dither']} is random noise for training, and left out"]


def _clap(config: Table) -> Table:
    rate = int(config.get("sampling_rate", 48_000))
    return {
        "method": "clap_mel",
        "sample_rate": rate,
        "samples": int(config.get("max_length_s", 10)) * rate,
        "mels": int(config.get("feature_size", 64)),
        "window": int(config.get("fft_window_size", 1024)),
        "hop": int(config.get("hop_length", 480)),
        "lowest": float(config.get("frequency_min", 0)),
        "highest": float(config.get("frequency_max", 14_000)),
        "truncation": str(config.get("truncation", "fusion")),
        "padding": str(config.get("padding", "repeatpad")),
    }


def _waveform(config: Table, model: Table) -> Table:
    return {
        "method": "waveform",
        "sample_rate": int(config.get("sampling_rate", 16_000)),
        "normalise": bool(config.get("do_normalize", True)),
        "padding_value": float(config.get("padding_value", 0.0)),
        "mask": bool(config.get("return_attention_mask", False)),
        "shortest": receptive_field(model),
    }


def receptive_field(model: Table) -> int:
    """Samples that the model's convolutions need for one frame, from its config.json; else 1."""
    kernels, strides = model.get("conv_kernel"), model.get("conv_stride")
    if not isinstance(kernels, list) or not isinstance(strides, list):
        return 1
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=False):
        samples = (samples - 1) * int(stride) + int(kernel)
    return samples


METHODS: dict[str, Callable[[Table], Table]] = {
    "ASTFeatureExtractor": _ast,
    "SeamlessM4TFeatureExtractor": _seamless,
    "Speech2TextFeatureExtractor": _speech_to_text,
    "WhisperFeatureExtractor": _log_mel,
}
