"""A caller's inputs, raw values and tensors mixed, as the tensors of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mmedge.errors import BundleError, InputError
from mmedge.runtime.manifest import Manifest
from mmedge.runtime.preprocess import preprocess, preprocess_files
from mmedge.runtime.processors import Processor, load_processor
from mmedge.strict import nearest
from mmedge.tensors import Array


class RawInputs:
    """What a bundle takes by name: its processor's raw inputs, and its own inputs."""

    def __init__(self, manifest: Manifest, directory: Path) -> None:
        self._wiring = manifest.wiring
        self._listed = manifest.files
        self._directory = directory
        self.processor: Processor | None = None
        if manifest.processor:
            where = directory / "manifest.json"
            self.processor = load_processor(manifest.processor, where=where)

    @property
    def raw_names(self) -> list[str]:
        """What the processor takes."""
        return [] if self.processor is None else list(self.processor.raw_inputs())

    @property
    def names(self) -> list[str]:
        """All that may be given."""
        return [*self.raw_names, *(item.spec.name for item in self._wiring.inputs)]

    def of_modality(self, modality: str) -> list[str]:
        """The inputs that take raw values of that modality."""
        if self.processor is not None:
            raw = self.processor.raw_inputs()
            return [name for name, item in raw.items() if item.modality == modality]
        inputs = self._wiring.inputs
        return [i.spec.name for i in inputs if i.modality == modality and i.preprocess]

    def tensors(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """The inputs as tensors, those of the processor converted together.

        None is an absent input. Raises InputError for an unknown name, an unfit value, and a
        tensor beside the raw input that it is made from.
        """
        given = {name: value for name, value in inputs.items() if value is not None}
        self._check_known(inputs)
        raw = {name: given.pop(name) for name in self.raw_names if name in given}
        tensors = {
            name: preprocess(self._wiring.input(name), value, files=self._directory)
            for name, value in given.items()
        }
        return tensors | self._converted(raw, tensors)

    def check_complete(self, inputs: Mapping[str, Any], *, settled: Iterable[str] = ()) -> None:
        """Raise InputError where a raw input is missing whose tensors the model cannot do without.

        In the caller's terms: "image", where `check_inputs` would ask for its pixel_values;
        whoever gives tensors alone is asked for tensors. settled: what an earlier call was given.
        """
        given = {name for name, value in inputs.items() if value is not None} | {*settled}
        if self.processor is None or (given and not given & set(self.raw_names)):
            return
        required = {i.spec.name for i in self._wiring.inputs if not i.optional} - given
        for name, raw in self.processor.raw_inputs().items():
            if name not in given and required.intersection(raw.tensors):
                raise InputError(
                    f"input {name!r} is missing",
                    found=", ".join(n for n in self.names if n in given) or "no inputs",
                    expected=", ".join(self.raw_names),
                )

    def tokenizer_file(self) -> Path:
        """The tokenizer of the texts that go in, which is that of the tokens that come out."""
        names = self.tokenizer_names()
        if len(names) != 1:
            raise BundleError(
                "nothing says how tokens become text",
                found=f"tokenizers: {', '.join(names)}" if names else "no tokenizer in the bundle",
                expected="one tokenizer.json",
                where=self._directory,
                hint="use the tokens as they are",
            )
        return self._directory / names[0]

    def tokenizer_names(self) -> list[str]:
        """The files that may be that tokenizer: none, one, or several that disagree."""
        names = [] if self.processor is None else list(self.processor.files())
        names += [name for item in self._wiring.inputs for name in preprocess_files(item)]
        names = [*dict.fromkeys(name for name in names if name.endswith(".json"))]
        # A model that takes no text may still make one.
        listed = [name for name in self._listed if PurePosixPath(name).name == "tokenizer.json"]
        return names or listed

    def _check_known(self, inputs: Mapping[str, Any]) -> None:
        for name in inputs:
            if name not in self.names:
                raise InputError(f"there is no input {name!r}", hint=nearest(name, self.names))

    def _converted(self, raw: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Array]:
        """What the processor makes that the model takes."""
        if self.processor is None or not raw:
            return {}
        declared = self.processor.raw_inputs()
        for name in raw:
            self._check_once(name, set(declared[name].tensors) & tensors.keys())
        made = self.processor.convert(raw, files=self._directory)
        self._check_once(" and ".join(raw), made.keys() & tensors.keys())
        taken = {item.spec.name for item in self._wiring.inputs}
        return {name: value for name, value in made.items() if name in taken}

    def _check_once(self, raw: str, both: set[str]) -> None:
        if both:
            raise InputError(
                f"{raw!r} was given, and so was {sorted(both)[0]!r}, which is made from it",
                hint="pass one of them",
            )
