"""What every backend does: subclass `Conformance`, say which backend, and pytest runs it all.

Graphs are ONNX text, so that a reader sees what is built.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from mmedge.artifact import EngineFile
from mmedge.backends.base import Backend, Engine
from mmedge.errors import BuildError, InputError, MmedgeError
from mmedge.targets import Target, load_target
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec

SCALE = """
<ir_version: 10, opset_import: ["" : 20]>
scale (float[batch, 3] x) => (float[batch, 3] y)
<float[3] w = {1, 2, 3}> { y = Mul (x, w) }
"""
MIXED = """
<ir_version: 10, opset_import: ["" : 20]>
mixed (float[batch, length] scores, bool[batch, length] keep)
    => (int64[batch] best, bool[batch, length] positive, float[batch, length] masked)
<float zero = {0}> {
    positive = Greater (scores, zero)
    masked = Where (keep, scores, zero)
    best = ArgMax <axis = 1, keepdims = 0> (masked)
}
"""
TYPED = """
<ir_version: 10, opset_import: ["" : 20]>
typed ({type}[n] x) => ({type}[n] y) {{ y = Add (x, x) }}
"""
# ONNX name -> numpy name, of the types that every backend takes.
TYPES = {"float": "float32", "int64": "int64", "int32": "int32"}


class Conformance:
    """The specification of a backend."""

    target_name = "cpu"

    def backend(self) -> Backend:
        raise NotImplementedError

    def target(self) -> Target:
        return load_target(self.target_name)

    def build(self, text: str, directory: Path, **changes: object) -> Engine:
        """Build the graph; `changes` are fields of its ComponentSpec that are stated wrongly."""
        model = onnx.parser.parse_model(text)
        source = directory / "source"
        source.mkdir(exist_ok=True)
        onnx.save(model, source / f"{model.graph.name}.onnx")
        return self.build_file(model, source, directory, **changes)

    def build_file(
        self, model: onnx.ModelProto, source: Path, directory: Path, **changes: object
    ) -> Engine:
        component = msgspec.structs.replace(component_of(model), **changes)
        built = directory / "built"
        built.mkdir(exist_ok=True)
        graph = source / f"{model.graph.name}.onnx"
        return self.backend().build(component, graph, target=self.target(), directory=built)

    def run(self, engine: Engine, **feeds: Array) -> dict[str, Array]:
        with engine.open(threads=1) as runner:
            return runner.infer(feeds)

    def test_a_dynamic_axis_takes_every_size(self, tmp_path: Path) -> None:
        with self.build(SCALE, tmp_path).open(threads=1) as runner:
            for batch in (1, 2, 7):
                x = np.arange(batch * 3, dtype="float32").reshape(batch, 3)
                np.testing.assert_array_equal(runner.infer({"x": x})["y"], x * [1, 2, 3])

    def test_integers_and_truth_values_are_exact(self, tmp_path: Path) -> None:
        scores = np.array([[3, -1, 2], [-4, 5, 6]], "float32")
        keep = np.array([[False, True, True], [True, True, False]])
        outputs = self.run(self.build(MIXED, tmp_path), scores=scores, keep=keep)
        assert outputs["best"].dtype == np.int64
        assert outputs["best"].tolist() == [2, 1]
        assert outputs["positive"].dtype == np.bool_
        np.testing.assert_array_equal(outputs["positive"], scores > 0)
        np.testing.assert_array_equal(outputs["masked"], np.where(keep, scores, 0))

    @pytest.mark.parametrize("kind", TYPES)
    def test_dtypes_are_kept(self, tmp_path: Path, kind: str) -> None:
        x = np.array([1, 2, 100], TYPES[kind])
        y = self.run(self.build(TYPED.format(type=kind), tmp_path), x=x)["y"]
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x + x)

    def test_weights_beside_the_graph_come_along(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        model = onnx.parser.parse_model(SCALE)
        for weight in model.graph.initializer:  # only raw bytes can lie beside a graph
            array = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        onnx.save(
            model,
            source / "scale.onnx",
            save_as_external_data=True,
            location="scale.data",
            size_threshold=0,
        )
        assert (source / "scale.data").is_file()
        engine = self.build_file(model, source, tmp_path)
        for path in source.iterdir():
            path.unlink()  # the engine stands on its own files
        y = self.run(engine, x=np.ones((1, 3), "float32"))["y"]
        np.testing.assert_array_equal(y, [[1, 2, 3]])
        built = Path(engine.file.path).parent
        stem = Path(engine.file.path).stem
        parts = [path for path in built.iterdir() if path.stem == stem]
        assert engine.file.size_bytes == sum(path.stat().st_size for path in parts)

    def test_the_engine_says_what_it_is(self, tmp_path: Path) -> None:
        engine = self.build(SCALE, tmp_path)
        assert isinstance(engine.file, EngineFile)
        assert engine.file.kind == self.backend().kind
        assert engine.file.built_with
        assert Path(engine.file.path).is_file()
        with engine.open() as runner:
            assert runner.input_specs == engine.component.inputs
            assert runner.output_specs == engine.component.outputs

    @pytest.mark.parametrize(
        ("side", "spec"),
        [
            ("inputs", TensorSpec("z", "float32", ("batch", 3))),
            ("inputs", TensorSpec("x", "float64", ("batch", 3))),
            ("inputs", TensorSpec("x", "float32", ("batch", 3, 1))),
            ("outputs", TensorSpec("z", "float32", ("batch", 3))),
            ("outputs", TensorSpec("y", "int64", ("batch", 3))),
        ],
    )
    def test_another_interface_is_refused(
        self, tmp_path: Path, side: str, spec: TensorSpec
    ) -> None:
        with pytest.raises(BuildError, match=f"'scale' has other {side}") as caught:
            self.build(SCALE, tmp_path, **{side: (spec,)})
        assert caught.value.details["found"] != caught.value.details["expected"]

    @pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
    def test_a_damaged_graph_is_refused(self, tmp_path: Path, keep: float) -> None:
        model = onnx.parser.parse_model(SCALE)
        data = model.SerializeToString()
        (tmp_path / "scale.onnx").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(BuildError, match="scale"):
            self.build_file(model, tmp_path, tmp_path)

    def test_an_operator_that_nobody_has_is_refused(self, tmp_path: Path) -> None:
        text = SCALE.replace("Mul (", "NoSuchOperator (")
        with pytest.raises(BuildError, match="scale"):
            self.build(text, tmp_path)

    def test_unfit_feeds_are_refused(self, tmp_path: Path) -> None:
        engine = self.build(SCALE, tmp_path)
        good = np.ones((1, 3), "float32")
        feeds = [{}, {"z": good}, {"x": good, "z": good}, {"x": good[0]}, {"x": good[:, :2]}]
        for feed in [*feeds, {"x": good.astype("float64")}]:
            with engine.open() as runner, pytest.raises(InputError, match="scale"):
                runner.infer(feed)

    def test_closing_releases_and_may_be_repeated(self, tmp_path: Path) -> None:
        runner = self.build(SCALE, tmp_path).open()
        runner.close()
        runner.close()
        with pytest.raises(MmedgeError, match="closed"):
            runner.infer({"x": np.ones((1, 3), "float32")})


def component_of(model: onnx.ModelProto) -> ComponentSpec:
    """The spec that the graph itself states."""
    sides = (model.graph.input, model.graph.output)
    inputs, outputs = (tuple(map(_spec, side)) for side in sides)
    return ComponentSpec(model.graph.name, "tensor", inputs, outputs, {})


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    return TensorSpec(value.name, dtype.name, shape)
