import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.onnx._internal.exporter import _fx_passes, _registration

from mmedge.graph.decompositions import decompose, only_where_needed


class Functional(torch.nn.Module):
    """Everything that is replaced: casts that do something and nothing, operators, one chunk."""

    def forward(self, x, mask):
        mask = (mask & (x > 0).to(torch.bool)) | (mask ^ True)
        x = torch.where(mask, x.to(torch.float32), torch.tensor(0.5)).to("cpu")
        (whole,) = x.chunk(1, dim=-1)
        first, second = whole.detach().chunk(2, dim=-1)
        return first.type(torch.float64) @ second.to(torch.float64).transpose(-1, -2)


class InPlace(torch.nn.Module):
    def forward(self, x, mask):
        x = x.clone()
        x[:, :2] = mask[:, :2].to(x.dtype)
        return x.add_(1)


class OutputOfNothing(torch.nn.Module):
    """What is left away is itself the output."""

    def forward(self, x, mask):
        return torch.where(mask, x, x * 2).to(torch.float32)


class Unknown(torch.nn.Module):
    """`rsub` has no translation, and none of ours."""

    def forward(self, x, mask):
        return torch.rsub(x, 1.5) * mask


def export(model: torch.nn.Module) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=16)
    examples = (torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool))
    return torch.export.export(model, examples, dynamic_shapes=({0: batch}, {0: batch}))


def targets(program: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes]


REGISTRY = _registration.ONNXRegistry.from_torchlib()


def test_what_has_no_onnx_form_is_replaced():
    program = export(Functional())
    assert any("aten.to" in target for target in targets(program))
    assert decompose(program, REGISTRY)
    left = targets(program)
    assert not any("aten.to." in t or "__and__" in t or "detach" in t for t in left)
    assert left.count("aten.chunk.default") == 1


def test_an_output_keeps_its_place():
    program = export(OutputOfNothing())
    assert decompose(program, REGISTRY)
    (output,) = program.graph_signature.user_outputs
    assert (
        output == next(node for node in program.graph.nodes if node.op == "output").args[0][0].name
    )


@pytest.mark.parametrize("model", [InPlace(), Unknown()], ids=lambda model: type(model).__name__)
def test_any_other_program_is_left_as_it_was(model):
    program = export(model)
    before = targets(program)
    assert not decompose(program, REGISTRY)
    assert targets(program) == before


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([Functional, InPlace, OutputOfNothing, Unknown]),
    st.integers(1, 16),
    st.integers(0, 99),
)
def test_the_graph_computes_what_the_model_does(kind, batch, seed):
    session = sessions(kind)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 4, generator=generator)
    mask = torch.rand(batch, 4, generator=generator) > 0.5
    wanted = kind()(x, mask).numpy()
    names = [value.name for value in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (x.numpy(), mask.numpy()), strict=True)))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


_SESSIONS: dict[type, onnxruntime.InferenceSession] = {}


def sessions(kind: type[torch.nn.Module]) -> onnxruntime.InferenceSession:
    if kind not in _SESSIONS:
        with only_where_needed():
            exported = torch.onnx.export(export(kind()), dynamo=True, verbose=False)
        data = exported.model_proto.SerializeToString()
        _SESSIONS[kind] = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return _SESSIONS[kind]


def test_the_exporter_is_itself_again_after_a_failure():
    before = _fx_passes.decompose_with_registry
    with only_where_needed():
        assert _fx_passes.decompose_with_registry is not before
    with pytest.raises(KeyError), only_where_needed():
        raise KeyError
    assert _fx_passes.decompose_with_registry is before


def test_another_version_of_torch_goes_its_own_way(monkeypatch):
    monkeypatch.delattr(_fx_passes, "decompose_with_registry")
    with only_where_needed():
        assert not hasattr(_fx_passes, "decompose_with_registry")
