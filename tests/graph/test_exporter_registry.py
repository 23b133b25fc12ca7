import pytest
import torch
from onnxscript import opset18 as op
from torch.onnx._internal.exporter import _registration

from mmedge.graph import exporter_registry
from mmedge.graph.exporter_registry import registry_made_once

OPSET = 20
make = _registration.ONNXRegistry.from_torchlib


def same(one, other):
    """Targets, and for each the same functions in the same order."""
    functions = [
        {target: [entry.onnx_function for entry in known] for target, known in each.items()}
        for each in (one.functions, other.functions)
    ]
    assert functions[0] == functions[1]
    assert one.opset_version == other.opset_version


def test_the_table_is_the_exporters_own_and_made_once(monkeypatch):
    monkeypatch.setattr(exporter_registry, "_made", {})
    own = make(opset_version=OPSET)
    calls = []
    counted = staticmethod(lambda **asked: calls.append(asked) or make(**asked))
    monkeypatch.setattr(_registration.ONNXRegistry, "from_torchlib", counted)
    with registry_made_once():
        for _ in range(3):
            same(_registration.ONNXRegistry().from_torchlib(opset_version=OPSET), own)
    with registry_made_once():
        same(_registration.ONNXRegistry.from_torchlib(opset_version=OPSET), own)
        other = _registration.ONNXRegistry.from_torchlib(opset_version=OPSET + 1)
    assert other.opset_version == OPSET + 1
    assert calls == [{"opset_version": OPSET}, {"opset_version": OPSET + 1}]


def test_what_one_caller_adds_the_next_does_not_see():
    target = torch.ops.aten.relu.default
    with registry_made_once():
        first, second = (
            _registration.ONNXRegistry.from_torchlib(opset_version=OPSET) for _ in range(2)
        )
        before = len(second.get_decomps(target))
        first.register_op(target, lambda x: op.Relu(x))
        assert len(first.get_decomps(target)) == before + 1
        third = _registration.ONNXRegistry.from_torchlib(opset_version=OPSET)
        assert len(second.get_decomps(target)) == len(third.get_decomps(target)) == before


def test_the_exporter_is_as_it_was_after_a_failure():
    kept = vars(_registration.ONNXRegistry)["from_torchlib"]
    with pytest.raises(KeyError), registry_made_once():
        raise KeyError
    assert vars(_registration.ONNXRegistry)["from_torchlib"] is kept


def test_another_version_of_torch_makes_its_own(monkeypatch):
    monkeypatch.delattr(_registration.ONNXRegistry, "from_torchlib")
    with registry_made_once():
        assert not hasattr(_registration.ONNXRegistry, "from_torchlib")
