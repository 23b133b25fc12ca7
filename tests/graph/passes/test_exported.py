"""All passes on modules that torch really exports: same values, and every node stays named."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mmedge.graph.passes import DEFAULT_PASSES, run_passes
from mmedge.graph.passes.check import check_outputs, run_outputs
from mmedge.graph.provenance import ensure_stamped, modules_of, stamp_module_paths

WIDTH, TIME = 8, 5


class Attention(nn.Module):
    """Self-attention without the tuple that nn.MultiheadAttention returns."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2).contiguous()


class NoOps(nn.Module):
    """What people write that does nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, width = x.shape
        x = x.reshape(batch, time, width).to(torch.float32) * 1.0 + 0.0
        return x.transpose(0, 1).transpose(0, 1).view(batch, time, 2, -1).flatten(2)[:, :]


class Tied(nn.Module):
    """A lookup and a head with one table, stored once more transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(64, WIDTH))
        self.head = nn.Parameter(self.table.detach().T.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        index = (x @ self.head).argmax(-1)
        return x + self.table[index]


class Wrapper(nn.Module):
    """`like` is used only for its batch size, as a component reads another's output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, like: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros(like.shape[0], 1, 1)
        return self.model(x) + bias


BLOCKS = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "gelu": nn.GELU,
    "dropout": lambda: nn.Dropout(0.1),
    "norm": lambda: nn.LayerNorm(WIDTH),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()), nn.Identity()
    ),
    "attention": Attention,
    "recurrent": Recurrent,
    "convolution": Convolution,
    "no ops": NoOps,
    "tied": Tied,
}


def export(module: nn.Module) -> ir.Model:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        Wrapper(module).eval(),
        (torch.randn(2, 3), torch.randn(2, TIME, WIDTH)),
        dynamo=True,
        opset_version=23,
        input_names=["like", "x"],
        output_names=["y"],
        dynamic_shapes=({0: batch}, {0: batch}),
        verbose=False,
    )
    assert program is not None
    model = program.model
    stamp_module_paths(model, prefix="model.")
    return model


def feeds(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    return {
        "like": rng.normal(size=(batch, 3)).astype(np.float32),
        "x": rng.normal(size=(batch, TIME, WIDTH)).astype(np.float32),
    }


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=3), st.integers(0, 2**16))
def test_all_passes_keep_the_values_for_any_batch(names, seed):
    torch.manual_seed(seed)
    model = export(nn.Sequential(*(BLOCKS[name]() for name in names)))
    before = {batch: run_outputs(model, feeds(batch), where="as exported") for batch in (1, 3)}
    model, _ = run_passes(model, DEFAULT_PASSES, feeds=feeds(2))
    for batch, expected in before.items():
        found = run_outputs(model, feeds(batch), where="after all passes")
        check_outputs(expected, found, where=f"batch {batch}")
    ensure_stamped(model)


@pytest.fixture(scope="module")
def everything():
    """A module with every block, its graph after all passes, and the records."""
    torch.manual_seed(0)
    module = nn.Sequential(*(block() for block in BLOCKS.values()))
    expected = Wrapper(module).eval()(*map(torch.from_numpy, feeds(3).values())).detach().numpy()
    model, records = run_passes(export(module), DEFAULT_PASSES, feeds=feeds(2))
    return module, model, {record.name: record for record in records}, expected


def test_every_stamp_is_a_real_module(everything):
    module, model, _, _ = everything
    names = dict(module.named_modules())
    modules = modules_of(model)
    assert set(modules) <= set(names)
    of_kind = {
        op: type(names[path])
        for path, nodes in modules.items()
        for op in {n.op_type for n in nodes}
    }
    assert of_kind["LSTM"] is nn.LSTM
    assert of_kind["Conv"] is nn.Conv1d
    assert of_kind["LayerNormalization"] is nn.LayerNorm
    assert of_kind["Attention"] is nn.MultiheadAttention


def test_the_graph_still_computes_what_torch_does(everything):
    _, model, _, expected = everything
    found = run_outputs(model, feeds(3), where="after all passes")["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_each_pass_found_its_work(everything):
    _, model, records, _ = everything
    assert records["RebindAxisSources"].what == [
        "input like is no longer read: axis batch is axis 0 of x"
    ]
    assert "dropped input like, which nothing uses" in records["DropUnusedInputs"].what
    assert any("transposed: 2,048 bytes saved" in line for line in records["DedupeWeights"].what)
    assert records["RemoveNoOps"].changed
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_running_the_passes_again_changes_nothing(everything):
    _, model, _, _ = everything
    again, _ = run_passes(model.clone(), DEFAULT_PASSES)
    _, records = run_passes(again, DEFAULT_PASSES)
    assert [record.name for record in records if record.changed] == []
