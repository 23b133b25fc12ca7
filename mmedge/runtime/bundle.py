"""A loaded bundle: raw or preprocessed inputs in, named outputs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np

from mmedge.errors import BundleError, InputError, MissingDependencyError
from mmedge.runtime.execute import execute
from mmedge.runtime.manifest import Engine, Manifest, check_files, read_manifest
from mmedge.runtime.preprocess import preprocess
from mmedge.runtime.runner import Runner, open_engine
from mmedge.strict import nearest
from mmedge.tensors import Array
from mmedge.wiring import Wiring

RunComponent = Callable[[str, dict[str, Array]], dict[str, Array]]


class Bundle:
    """A compiled model. Use as a context manager, or call `close`.

    One bundle may be called from one thread at a time.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        self.directory = directory
        self.manifest = manifest
        self.load_ms: dict[str, float] = {}
        self.chosen: dict[str, Engine] = {}
        self._stack = ExitStack()
        self._runners: dict[str, Runner] = {}
        self._substitutes: dict[str, Array] = {
            source: _arrays(directory / substitute.file)
            for source, substitute in self.wiring.substitutes.items()
            if substitute.file
        }
        with ExitStack() as opening:
            opening.callback(self.close)
            for component in self.wiring.components:
                self._open(component.name, threads)
            opening.pop_all()

    @property
    def wiring(self) -> Wiring:
        """Inputs, outputs, components and how they are connected."""
        return self.manifest.wiring

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Run the model. Each input is raw (path, image, text, sound) or the declared tensor.

        None, or leaving it out, means that an optional input is absent. Raises InputError.
        """
        return self.run(self.preprocess(inputs))

    def preprocess(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Raw inputs as tensors; InputError for an unknown name or an unfit value."""
        names = [item.spec.name for item in self.wiring.inputs]
        unknown = [name for name in inputs if name not in names]
        if unknown:
            raise InputError(f"there is no input {unknown[0]!r}", hint=nearest(unknown[0], names))
        return {
            name: preprocess(self.wiring.input(name), value, files=self.directory)
            for name, value in inputs.items()
            if value is not None
        }

    def run(
        self, tensors: Mapping[str, Array], *, run_component: RunComponent | None = None
    ) -> dict[str, Array]:
        """Run the model on tensors of the declared dtypes and shapes.

        run_component: called instead of `self.run_component`, to watch what each one gets.
        """
        run = run_component or self.run_component
        return execute(self.wiring, tensors, run, substitutes=self._substitutes)

    def run_component(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run one component on its own inputs."""
        if name not in self._runners:
            raise BundleError("the bundle is closed", where=self.directory)
        return self._runners[name].infer(feeds)

    def labels(self, output: str) -> list[str] | None:
        """Class names of an output, where the model has them."""
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

    def close(self) -> None:
        """Release every engine. Safe to call twice."""
        self._runners.clear()
        self._stack.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, name: str, threads: int | None) -> None:
        """Open the first engine of a component that this machine can run."""
        refused: list[MissingDependencyError] = []
        start = time.perf_counter()
        for engine in self.manifest.engines[name]:
            path = self.directory / engine.file
            try:
                runner = open_engine(engine.kind, path, threads=threads, options=engine.options)
            except MissingDependencyError as error:
                refused.append(error)
                continue
            self._runners[name] = self._stack.enter_context(runner)
            self.chosen[name] = engine
            self.load_ms[name] = (time.perf_counter() - start) * 1e3
            return
        raise refused[0]  # the best engine's; every component has one at least


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


def load(directory: str | Path, *, threads: int | None = None) -> Bundle:
    """Open the bundle in `directory` after checking every file against its manifest.

    threads: intra-op threads of each engine; None lets the engine decide.
    Raises BundleError for a tampered, truncated, incomplete or newer bundle, naming the file.
    """
    path = Path(directory)
    manifest = read_manifest(path)
    check_files(path, manifest)
    return Bundle(path, manifest, threads=threads)
