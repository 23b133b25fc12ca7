"""A checkpoint's own processor files as options of the torch-free runtime.

Nothing of torch or transformers is imported: old and new files are read as JSON, and what they
leave out is upstream's default. What cannot be converted is a reason, not an error: the raw
tensors are then what the bundle takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.checkpoint.processor_audio import audio_table
from mmedge.checkpoint.processor_defaults import PROCESSOR_OF_MODEL
from mmedge.checkpoint.processor_image import image_table
from mmedge.checkpoint.processor_sources import (
    NAMES,
    ProcessorSources,
    UnsupportedError,
    read_sources,
)
from mmedge.checkpoint.processor_text import TEXTS, plain

Table = dict[str, Any]
SEVERAL_IMAGES = frozenset({"LlavaProcessor", "Gemma3Processor", "PaliGemmaProcessor"})
READ_BY_NOBODY = frozenset({"vision-encoder-decoder", "speech-encoder-decoder"})


@dataclass(frozen=True)
class ProcessorFound:
    """What the files of a checkpoint say of its processor.

    options: for `mmedge.runtime.processors.load_processor`; None where nothing can be converted.
    processor: upstream's class, or the part of one that there is. notes: what the user should
    know. reasons: why a modality, or everything, is not converted: it is passed as tensors.
    """

    options: dict[str, Any] | None
    processor: str | None = None
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        """All reasons as one sentence for a report; None where everything is converted."""
        if not self.reasons:
            return None
        return f"{'; '.join(self.reasons)}: pass the tensors themselves"


def processor_options(directory: Path) -> ProcessorFound:
    """The processor of the checkpoint in `directory`."""
    try:
        sources = read_sources(directory)
        name = _processor_class(sources)
    except UnsupportedError as reason:
        return ProcessorFound(None, reasons=(str(reason),))
    notes: list[str] = []
    reasons: list[str] = []
    parts = _parts(sources, name, notes)
    tables = {part: _try(part, make, reasons) for part, make in parts.items()}
    found = {part: table for part, table in tables.items() if table is not None}
    if not found:
        nothing = f"none of {', '.join(NAMES[:4])} is there"
        return ProcessorFound(None, name, tuple(notes), tuple(reasons) or (nothing,))
    options = {"kind": "huggingface", "processor": name, **found}
    return ProcessorFound(options, name, tuple(notes), tuple(reasons))


def _processor_class(sources: ProcessorSources) -> str:
    """The class that the files name, else that of the model type, else the only part's.

    Raises UnsupportedError where it is unknown, or nothing says how the parts belong together.
    """
    model = str(sources.config.get("model_type") or "")
    name = sources.processor.get("processor_class") or PROCESSOR_OF_MODEL.get(model)
    if name is not None:
        if name not in TEXTS:
            raise UnsupportedError(f"the processor {name} is not known to mmedge")
        return str(name)
    text = sources.has_tokenizer and model not in READ_BY_NOBODY
    parts = {"image": bool(sources.image), "audio": bool(sources.audio), "text": text}
    there = [part for part, present in parts.items() if present]
    if len(there) > 1:
        raise UnsupportedError(
            f"no file says how {' and '.join(there)} go together (processor_class)"
        )
    image = f"{sources.image_class}ImageProcessor" if sources.image else ""
    return sources.audio_class or image or sources.tokenizer_class or "nothing"


def _parts(
    sources: ProcessorSources, name: str, notes: list[str]
) -> dict[str, Callable[[], Table]]:
    """For each modality that the checkpoint has, what makes its table."""
    parts: dict[str, Callable[[], Table]] = {}
    if sources.image:
        parts["image"] = lambda: image_table(sources, several=name in SEVERAL_IMAGES)
    if sources.audio:
        parts["audio"] = lambda: _noted(audio_table(sources), notes)
    text = TEXTS.get(name) if name in TEXTS or sources.image or sources.audio else plain
    if text is not None and (sources.has_tokenizer or name in TEXTS):
        parts["text"] = lambda: text(sources, notes)
    return parts


def _noted(made: tuple[Table, list[str]], notes: list[str]) -> Table:
    notes += made[1]
    return made[0]


def _try(part: str, make: Callable[[], Table], reasons: list[str]) -> Table | None:
    try:
        return make()
    except UnsupportedError as reason:
        reasons.append(f"{part}: {reason}")
    except (KeyError, TypeError, ValueError) as error:  # files are data, and may say anything
        reasons.append(f"{part}: a value in its file is not understood: {error!r}")
    return None
