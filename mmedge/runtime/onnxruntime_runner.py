"""ONNX Runtime as a Runner: what was asked for is what runs, or opening fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmedge.errors import BuildError, BundleError, InputError, MmedgeError
from mmedge.runtime.feeds import check_given
from mmedge.runtime.onnxruntime_binding import BoundSession
from mmedge.runtime.onnxruntime_session import CPU, Optimization, open_session
from mmedge.strict import decode
from mmedge.tensors import DTYPES, Array, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

# ONNX Runtime's element types where they differ from numpy's names.
ORT_DTYPES = {"float": "float32", "double": "float64"}

# How ONNX Runtime says that an index is outside of what it indexes.
OUTSIDE = re.compile(r"idx=(-?\d+) must be within the inclusive range \[-?\d+,(\d+)\]")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle may set: strings, as its manifest has them.

    providers: execution providers, comma-separated, in order of preference.
    spinning: whether idle threads of an operator spin ("1") or sleep ("0"); ONNX Runtime's
        session entry `session.intra_op.allow_spinning`, which by default it sets itself.
    memory_arena: whether memory is kept for the next run ("1", faster) or given back after each
        ("0"); `SessionOptions.enable_cpu_mem_arena`.
    """

    providers: str = CPU
    optimization: Optimization = "all"
    spinning: Literal["0", "1"] | None = msgspec.field(default=None, name="intra_op.allow_spinning")
    memory_arena: Literal["0", "1"] = "1"


class OnnxRuntimeRunner:
    """An ONNX file opened by ONNX Runtime; the file's stem is the component's name."""

    def __init__(
        self,
        path: Path,
        *,
        providers: Sequence[str] = (CPU,),
        threads: int | None = None,
        optimization: Optimization = "all",
        allow_spinning: bool | None = None,
        memory_arena: bool = True,
    ) -> None:
        self.name = path.stem
        if not path.is_file():
            raise BundleError(f"the engine file {path.name} is missing", expected=path)
        self._session: Any = open_session(
            path,
            providers=providers,
            threads=threads,
            optimization=optimization,
            allow_spinning=allow_spinning,
            memory_arena=memory_arena,
        )
        self._inputs = tuple(_spec(node, path) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node, path) for node in self._session.get_outputs())

    @classmethod
    def open(cls, path: Path, *, threads: int | None, options: Mapping[str, str]) -> Self:
        """The runner with settings as a bundle's manifest has them; see Options."""
        decoded = decode(
            dict(options), Options, where=f"engine options of {path.name}", error=BuildError
        )
        return cls(
            path,
            providers=[name.strip() for name in decoded.providers.split(",")],
            threads=threads,
            optimization=decoded.optimization,
            allow_spinning=None if decoded.spinning is None else decoded.spinning == "1",
            memory_arena=decoded.memory_arena == "1",
        )

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs, in order; an axis without a name is "<tensor>.<position>"."""
        return self._inputs

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs, in order."""
        return self._outputs

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises InputError where a feed is missing, unknown or does not fit, MmedgeError where
        the runner is closed or ONNX Runtime fails; both name the component.
        """
        self._check_feeds(feeds)
        with self._failures(feeds):
            values = self._session.run(None, dict(feeds))
        return {spec.name: value for spec, value in zip(self._outputs, values, strict=True)}

    def bound(
        self, shared: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """`infer` on buffers that stay in place; see mmedge.runtime.runner.Binding."""
        if self._session is None:
            raise MmedgeError(f"the engine of component {self.name!r} is closed")
        run = BoundSession(self._session, shared, buffers)

        def infer(feeds: Mapping[str, Array]) -> dict[str, Array]:
            self._check_feeds({**feeds, **buffers})
            # A view that is not contiguous has no address that could be bound.
            whole = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
            with self._failures(feeds):
                return run(whole)

        return infer

    def close(self) -> None:
        """Release the session and its memory; closing twice is harmless."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _failures(self, feeds: Mapping[str, Array]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            outside = OUTSIDE.search(str(error))
            if outside is not None:
                raise InputError(
                    f"component {self.name!r} was given a number that none of its tables has",
                    found=outside[1],
                    expected=f"0 to {outside[2]}",
                    where=", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in feeds.items()),
                    hint="check token ids, boxes and positions among the inputs",
                ) from error
            raise MmedgeError(
                f"component {self.name!r} failed in ONNX Runtime",
                found=error,
                where=", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in feeds.items()),
            ) from error

    def _check_feeds(self, feeds: Mapping[str, Array]) -> None:
        if self._session is None:
            raise MmedgeError(f"the engine of component {self.name!r} is closed")
        check_given(feeds, self._inputs, self.name)


def _spec(node: Any, path: Path) -> TensorSpec:
    """TensorSpec of an onnxruntime NodeArg, whose type reads "tensor(float)"."""
    match = re.fullmatch(r"tensor\((\w+)\)", node.type)
    dtype = ORT_DTYPES.get(match[1], match[1]) if match else node.type
    if dtype not in DTYPES:
        raise BuildError(
            f"{node.name!r} of {path.name} has a type that numpy does not have",
            found=node.type,
            expected=f"a tensor of {', '.join(DTYPES)}",
            where=path,
        )
    shape = tuple(
        dim if isinstance(dim, int | str) else f"{node.name}.{i}"
        for i, dim in enumerate(node.shape)
    )
    return TensorSpec(node.name, dtype, shape)
