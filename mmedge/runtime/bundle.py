"""A loaded bundle: raw or preprocessed inputs in, named outputs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np

from mmedge.errors import BundleError, InputError
from mmedge.runtime.execute import evaluate, execute
from mmedge.runtime.manifest import Manifest, check_files, native_engines, read_manifest
from mmedge.runtime.next_token import GREEDY, GenerateOptions, OnToken
from mmedge.runtime.open_engines import OpenEngines
from mmedge.runtime.raw_inputs import RawInputs
from mmedge.runtime.sampling import Sampling
from mmedge.runtime.session import Session
from mmedge.runtime.tokenizer import OnText, TextStream, open_tokenizer, texts
from mmedge.strict import nearest
from mmedge.tensors import Array
from mmedge.wiring import Source, Wiring

RunComponent = Callable[[str, dict[str, Array]], dict[str, Array]]


class Bundle:
    """A compiled model. Use as a context manager, or call `close`.

    One bundle may be called from one thread at a time.

    chosen, passed_over: by component, the engine that runs it, and the better ones that this
        machine cannot run, each with the reason. load_ms: how long the engine took to open.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        threads: int | None = None,
        engine: str | None = None,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.raw_inputs = RawInputs(manifest, directory)
        self._substitutes: dict[str, Array] = {
            source: _arrays(directory / substitute.file)
            for source, substitute in self.wiring.substitutes.items()
            if substitute.file
        }
        self._engines = OpenEngines(directory, manifest, threads=threads, kind=engine)
        self.chosen, self.load_ms = self._engines.chosen, self._engines.load_ms
        self.passed_over = self._engines.passed_over

    @property
    def wiring(self) -> Wiring:
        """Inputs, outputs, components and how they are connected."""
        return self.manifest.wiring

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Run the model. Each input is raw (path, image, text, sound) or the declared tensor.

        None, or leaving it out, means that an optional input is absent. Raises InputError.
        """
        tensors = self.preprocess(inputs)
        self.raw_inputs.check_complete(inputs)
        return self.run(tensors)

    def preprocess(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Raw inputs as tensors; InputError for an unknown name or an unfit value."""
        return self.raw_inputs.tensors(inputs)

    def run(
        self,
        tensors: Mapping[str, Array],
        *,
        run_component: RunComponent | None = None,
        known: Mapping[Source, Array] = {},
        options: GenerateOptions = GREEDY,
    ) -> dict[str, Array]:
        """Run the model on tensors of the declared dtypes and shapes.

        run_component: called instead of `self.run_component`, to watch what each one gets.
        known: component outputs that need not be computed.
        options: how it generates, where it does.
        """
        return self._execute(
            self.wiring, tensors, run_component=run_component, known=known, options=options
        )

    def evaluate(
        self, tensors: Mapping[str, Array], sources: Iterable[Source]
    ) -> dict[Source, Array]:
        """The values of some sources: inputs and component outputs; absent ones are left out."""
        return evaluate(
            self.wiring, tensors, self.run_component, sources, substitutes=self._substitutes
        )

    def generate(
        self,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop_token_ids: tuple[int, ...] = (),
        on_token: OnToken | None = None,
        on_text: OnText | None = None,
        **inputs: Any,
    ) -> Array:
        """The tokens of the answer without the prompt, int64 [batch, new tokens].

        A sequence has its end token, and padding after it.

        max_new_tokens: at most so many; by default, and at most, what the model declares.
        sampling: how a token is drawn; None takes the likeliest.
        stop_token_ids: tokens that end a sequence, besides the model's own.
        on_token: called with the tokens of each step, int64 [batch].
        on_text: called with the next piece of each sequence's text: whole characters, or "".
        Raises InputError for unfit inputs and settings, BundleError where the model generates
        no tokens. After an exception, or an interrupt, the bundle can be called as before.
        """
        options = GenerateOptions(
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_token_ids=tuple(stop_token_ids),
            on_token=on_token,
        )
        tensors = self.preprocess(inputs)
        self.raw_inputs.check_complete(inputs)
        return self.generate_tokens(tensors, options, on_text=on_text)

    def generate_tokens(
        self,
        tensors: Mapping[str, Array],
        options: GenerateOptions,
        *,
        known: Mapping[Source, Array] = {},
        on_text: OnText | None = None,
    ) -> Array:
        """`generate` on tensors of the declared dtypes and shapes; known: as for `run`."""
        generation = self.wiring.generation
        if generation is None:
            outputs = ", ".join(self.wiring.outputs)
            raise BundleError("the model generates no tokens", found=f"outputs: {outputs}")
        wiring = msgspec.structs.replace(self.wiring, outputs={"tokens": generation.tokens})
        stream = None
        if on_text is not None:
            ends = (*generation.end_token_ids, *options.stop_token_ids)
            stream = TextStream(self._tokenizer, on_text, end_ids=ends)
            options = replace(options, on_token=stream.after(options.on_token))
        tokens = self._execute(wiring, tensors, known=known, options=options)["tokens"]
        if stream is not None:
            stream.end()
        return tokens

    @property
    def has_tokenizer(self) -> bool:
        """Whether tokens can be decoded."""
        return len(self.raw_inputs.tokenizer_names()) == 1

    def decode(self, tokens: Array) -> list[str]:
        """The text of each row of tokens, up to its end token and without special tokens.

        Raises BundleError where the bundle has no tokenizer, or more than one.
        """
        generation = self.wiring.generation
        ends = () if generation is None else generation.end_token_ids
        return texts(self._tokenizer, tokens, end_ids=ends)

    def encode(self, **inputs: Any) -> Session:
        """Compute all that these inputs alone decide, to be used in many calls.

        `session = bundle.encode(image=photo)`, then `session(question=...)` as often as you like:
        only what depends on the question runs. Raises InputError where nothing could be kept.
        """
        return Session(self, inputs)

    def run_component(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run one component on its own inputs."""
        return self._engines.run(name, feeds)

    def labels(self, output: str) -> list[str] | None:
        """Class names of an output, where the model has them; InputError for no output of it."""
        if output not in self.wiring.outputs:
            raise InputError(
                f"the model has no output {output!r}",
                hint=nearest(output, list(self.wiring.outputs)),
            )
        file = self.manifest.labels.get(output)
        if file is None:
            return None
        try:
            return msgspec.json.decode((self.directory / file).read_bytes(), type=list[str])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BundleError(f"{file} is not a list of class names", found=error) from error

    def golden(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The inputs that travel with the bundle, and the original model's outputs for them."""
        path = self.directory / self.manifest.golden.file
        arrays: Mapping[str, Array] = _arrays(path)
        parts = {
            side: {k.split(":", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{side}:")}
            for side in ("input", "output")
        }
        if set(parts["output"]) != set(self.wiring.outputs) or not parts["input"]:
            raise BundleError(
                "the golden inputs and outputs are not the model's", found=list(arrays), where=path
            )
        return parts["input"], parts["output"]

    def golden_margins(self) -> dict[str, Array]:
        """By output, how far the model's second best token is behind its best; see Golden."""
        arrays: Mapping[str, Array] = _arrays(self.directory / self.manifest.golden.file)
        return {k.split(":", 1)[1]: v for k, v in arrays.items() if k.startswith("margin:")}

    def close(self) -> None:
        """Release every engine. Safe to call twice."""
        self._engines.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _tokenizer(self) -> Any:
        return open_tokenizer(self.raw_inputs.tokenizer_file())

    def _execute(
        self,
        wiring: Wiring,
        tensors: Mapping[str, Array],
        *,
        run_component: RunComponent | None = None,
        known: Mapping[Source, Array] = {},
        options: GenerateOptions = GREEDY,
    ) -> dict[str, Array]:
        return execute(
            wiring,
            tensors,
            run_component or self.run_component,
            substitutes=self._substitutes,
            known=known,
            # Whoever watches the feeds is to see the cache among them.
            bind=None if run_component else self._engines.bind,
            options=options,
        )


def _arrays(path: Path) -> Any:
    """The array of a .npy, the dict of arrays of a .npz; BundleError for anything else."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BundleError(f"{path.name} does not hold arrays", found=error, where=path) from error


def load(directory: str | Path, *, threads: int | None = None, engine: str | None = None) -> Bundle:
    """Open the bundle in `directory` after checking every file against its manifest.

    An engine that is damaged and can be built again is passed over, if there is another.

    threads: intra-op threads of each engine; None lets the engine decide.
    engine: the kind of engine to run ("tensorrt"); None takes the best that this machine can run,
        of each component. What was asked for runs, or loading fails.
    Raises BundleError for a tampered, truncated, incomplete or newer bundle, naming the file, and
    MissingDependencyError where this machine can run no engine of a component.
    """
    path = Path(directory)
    manifest = read_manifest(path)
    # Of these OpenEngines asks: one that is damaged is passed over, as one that does not fit.
    check_files(path, manifest, besides=native_engines(manifest))
    return Bundle(path, manifest, threads=threads, engine=engine)
