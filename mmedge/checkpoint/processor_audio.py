"""A feature extractor's file as the table of one of our audio methods."""

from __future__ import annotations

from typing import Any

from mmedge.checkpoint.processor_sources import AUDIO_CLASSES, ProcessorSources, UnsupportedError

Table = dict[str, Any]


def audio_table(sources: ProcessorSources) -> tuple[Table, list[str]]:
    """(the table of `[audio]`, notes); UnsupportedError names an unknown feature extractor."""
    config = {key: value for key, value in sources.audio.items() if value is not None}
    name = str(config.get("feature_extractor_type") or "(unnamed)")
    if config.get("padding_side", "right") != "right":
        raise UnsupportedError("sounds padded on the left are not supported")
    if name == "WhisperFeatureExtractor":
        return _log_mel(config), _dither(config)
    if name == "ClapFeatureExtractor":
        note = "where upstream draws a crop of a long sound at random, the middle one is taken"
        return _clap(config), [note]
    if name == "Wav2Vec2FeatureExtractor":
        return _waveform(config, sources.config), []
    raise UnsupportedError(
        f"the feature extractor {name} is not known to mmedge; known: {', '.join(AUDIO_CLASSES)}"
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
