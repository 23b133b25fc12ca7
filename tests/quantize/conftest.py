"""Small float graphs with constant weights, and what ONNX Runtime makes of them."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest


@pytest.fixture(scope="session")
def graph_with():
    """ONNX text with some inputs turned into constants: `graph_with(text, w=array)`."""

    def make(text: str, **constants) -> ir.Model:
        model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 23]> g {text.strip()}')
        graph = model.graph
        for value in [v for v in graph.inputs if v.name in constants]:
            graph.inputs.remove(value)
            value.const_value = ir.tensor(constants[value.name], name=value.name)
            graph.register_initializer(value)
        for number, node in enumerate(graph):
            node.name = node.name or f"node_{number}"
        return model

    return make


@pytest.fixture(scope="session")
def answers():
    """The outputs of a model in ONNX Runtime, by name."""

    def run(model: ir.Model, **feeds) -> dict[str, np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        data = ir.to_proto(model).SerializeToString()
        session = onnxruntime.InferenceSession(data, options)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


def relative_error(found, right) -> float:
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))
