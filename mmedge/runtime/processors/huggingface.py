"""What one checkpoint's own processor does: images, texts and sounds, converted together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import msgspec

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.processors.audio_clap import ClapMel
from mmedge.runtime.processors.audio_filter_bank import (
    FilterBank,
    FixedFilterBank,
    StackedFilterBank,
)
from mmedge.runtime.processors.audio_log_mel import LogMel
from mmedge.runtime.processors.audio_method import AudioMethod
from mmedge.runtime.processors.audio_waveform import Waveform
from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.decode_method import decode_method
from mmedge.runtime.processors.image_any_resolution import AnyResolutionImage
from mmedge.runtime.processors.image_bounded_patches import BoundedPatchesImage
from mmedge.runtime.processors.image_canvas import CanvasImage
from mmedge.runtime.processors.image_document import DocumentImage
from mmedge.runtime.processors.image_own_size import OwnSizeImage
from mmedge.runtime.processors.image_padded import PaddedImage
from mmedge.runtime.processors.image_patches import PatchedImage
from mmedge.runtime.processors.image_plain import PlainImage, PlainImages
from mmedge.runtime.processors.image_quarters import QuartersImage
from mmedge.runtime.processors.image_steps import ImageMethod, Pictures
from mmedge.runtime.processors.image_tiles import TiledImage
from mmedge.runtime.processors.sound import sounds_of
from mmedge.runtime.processors.text_method import TextMethod
from mmedge.runtime.processors.text_plain import LabelText, PlainText, QueryText
from mmedge.runtime.processors.text_prefixed import PrefixedText
from mmedge.runtime.processors.text_prompt import PromptText
from mmedge.runtime.processors.text_words import WordText
from mmedge.strict import nearest
from mmedge.tensors import Array

IMAGE_METHODS: dict[str, type[ImageMethod]] = {
    "plain": PlainImage,
    "plain_several": PlainImages,
    "padded": PaddedImage,
    "document": DocumentImage,
    "tiles": TiledImage,
    "patches": PatchedImage,
    "any_resolution": AnyResolutionImage,
    "canvas": CanvasImage,
    "quarters": QuartersImage,
    "bounded_patches": BoundedPatchesImage,
    "own_size": OwnSizeImage,
}
TEXT_METHODS: dict[str, type[TextMethod]] = {
    "plain": PlainText,
    "labels": LabelText,
    "queries": QueryText,
    "words": WordText,
    "prompt": PromptText,
    "prefixed": PrefixedText,
}
AUDIO_METHODS: dict[str, type[AudioMethod]] = {
    "filter_bank": FilterBank,
    "fixed_filter_bank": FixedFilterBank,
    "log_mel": LogMel,
    "clap_mel": ClapMel,
    "stacked_filter_bank": StackedFilterBank,
    "waveform": Waveform,
}
Table = dict[str, object]


class HuggingFaceProcessor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Options of kind "huggingface": for each modality a table with its method.

    processor: upstream's class, for messages.
    """

    processor: str
    image: Table | None = None
    text: Table | None = None
    audio: Table | None = None

    def check(self, where: object) -> None:
        """Raise ProjectError for an unknown method or key, at once rather than at the first use."""
        if not (self.image or self.text or self.audio):
            raise ProjectError("the processor converts nothing", where=where)
        self.raw_inputs()  # decodes every table

    def raw_inputs(self) -> dict[str, RawInput]:
        """ "image", "text" (or "words", "boxes") and "audio", as the model takes them."""
        inputs: dict[str, RawInput] = {}
        alone = sum(table is not None for table in (self.image, self.text, self.audio)) == 1
        if self._images is not None:
            inputs["image"] = RawInput("image", self._images.tensors, optional=not alone)
        if self._sounds is not None:
            inputs["audio"] = RawInput("audio", self._sounds.tensors, optional=not alone)
        if self._texts is not None:
            inputs |= self._texts.raw_inputs()
        return inputs

    def files(self) -> tuple[str, ...]:
        """The tokenizer's file, where there is one."""
        return (self._texts.tokens.file,) if self._texts is not None else ()

    def convert(self, values: Mapping[str, object], *, files: Path) -> dict[str, Array]:
        """The tensors that the given raw inputs decide; the others' are absent.

        image: one, a list (one for each text, or all for the only text), or a list per text.
        Raises InputError for an unknown name and for values that do not fit.
        """
        self._check_names(values)
        tensors: dict[str, Array] = {}
        pictures = None
        if self._images is not None and "image" in values:
            pictures = self._pictures(self._images, values)
            tensors |= pictures.tensors
        if self._sounds is not None and "audio" in values:
            tensors |= self._heard(self._sounds, values["audio"])
        if self._texts is not None and values.keys() & self._texts.raw_inputs().keys():
            tensors |= self._texts.convert(values, pictures, files=files)
        return tensors

    @cached_property
    def _images(self) -> ImageMethod | None:
        return decode_method(self.image, IMAGE_METHODS, where="[image]") if self.image else None

    @cached_property
    def _texts(self) -> TextMethod | None:
        return decode_method(self.text, TEXT_METHODS, where="[text]") if self.text else None

    @cached_property
    def _sounds(self) -> AudioMethod | None:
        return decode_method(self.audio, AUDIO_METHODS, where="[audio]") if self.audio else None

    def _check_names(self, values: Mapping[str, object]) -> None:
        known = self.raw_inputs()
        for name in values:
            if name not in known:
                raise InputError(f"there is no input {name!r}", hint=nearest(name, list(known)))
        if not values:
            raise InputError("no inputs were given", expected=f"one of {', '.join(known)}")

    def _pictures(self, method: ImageMethod, values: Mapping[str, object]) -> Pictures:
        examples = _grouped(values["image"], values.get("text"), several=method.several)
        return method.convert(
            [[method.load(image, name="image") for image in images] for images in examples]
        )

    def _heard(self, method: AudioMethod, value: object) -> dict[str, Array]:
        least, rate = method.shortest, method.sample_rate
        return method.convert(sounds_of(value, name="audio", sample_rate=rate, least=least))


def _grouped(value: object, text: object, *, several: bool) -> list[list[object]]:
    """Every example's images."""
    if not isinstance(value, list | tuple):
        return [[value]]
    if not value or any(isinstance(one, list | tuple) and not one for one in value):
        raise InputError("input 'image' was given an empty list", expected="images")
    if any(isinstance(one, list | tuple) for one in value):
        groups = [list(one) if isinstance(one, list | tuple) else [one] for one in value]
        if not several and any(len(group) > 1 for group in groups):
            raise InputError("this model takes one image with every text", found="several")
        return groups
    one_text = isinstance(text, str) or (isinstance(text, list | tuple) and len(text) == 1)
    if several and one_text:
        return [list(value)]
    return [[one] for one in value]
