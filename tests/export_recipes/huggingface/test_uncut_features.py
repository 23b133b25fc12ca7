"""Features stay whole while a model is exported, and everything else is as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.uncut_features import chosen_first, uncut_features
from torch import Tensor, nn

BATCH, PIECES = torch.export.Dim("batch"), torch.export.Dim("pieces")


class Whole(nn.Module):
    """Cuts what it is given, and joins it again."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, features: Tensor, sizes: Tensor) -> Tensor:
        """Features [pieces, length, width] and the lengths of pieces to [all, width]."""
        with uncut_features():
            return torch.cat(self._cut(features, sizes), dim=0)

    def _cut(self, features: Tensor, sizes: Tensor) -> Any:
        rows = features.flatten(0, 1)
        ways = {
            "list": lambda: list(features),
            "unpacked": lambda: [*features],
            "split": lambda: torch.split(rows, sizes.tolist()),
            "method": lambda: rows.split(sizes.tolist()),
        }
        return ways[self.way]()


@pytest.mark.parametrize("way", ["list", "unpacked", "split", "method"])
def test_pieces_that_are_joined_are_not_cut(way: str) -> None:
    features = torch.arange(24.0).reshape(3, 4, 2)
    module = Whole(way)
    shapes = ({0: PIECES}, {0: BATCH})
    program = torch.export.export(
        module, (features, torch.tensor([5, 7])), dynamic_shapes=shapes, strict=False
    )
    for count, sizes in ((3, [1, 11]), (5, [4, 4, 12])):
        other = torch.randn(count, 4, 2)
        given_sizes = torch.tensor(sizes)
        found = program.module()(other, given_sizes)
        assert torch.equal(found, module(other, given_sizes))
        assert torch.equal(found, other.flatten(0, 1))


class Chosen(nn.Module):
    """Picks rows, as Idefics picks the images that are real."""

    def forward(self, rows: Tensor, real: Tensor) -> Tensor:
        """Rows [all, width], of which `real` [all] are wanted."""
        with uncut_features():
            return rows[real]


def test_rows_that_are_picked_come_first() -> None:
    rows = torch.arange(10.0).reshape(5, 2)
    real = torch.tensor([True, False, True, True, False])
    program = torch.export.export(
        Chosen(), (rows, real), dynamic_shapes=({0: BATCH}, {0: BATCH}), strict=False
    )
    for mask in (real, ~real, torch.tensor([True, True, False])):
        some = rows[: len(mask)]
        found = program.module()(some, mask)
        assert found.shape == some.shape
        assert torch.equal(found[: int(mask.sum())], some[mask])


def test_rows_along_two_axes_are_picked_too() -> None:
    rows = torch.arange(12.0).reshape(2, 3, 2)
    real = torch.tensor([[True, True, False], [True, False, False]])
    with uncut_features():
        found = rows[real]
    assert torch.equal(found[:3], rows[real])
    assert found.shape == (6, 2)


class Squeezed(nn.Module):
    """Squeezes an axis that is of size one only sometimes."""

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [all, width] and [1, all, width]."""
        with uncut_features():
            return rows.squeeze(0) + rows[None].squeeze(0)


def test_an_axis_that_varies_is_not_squeezed() -> None:
    shapes = ({0: BATCH},)
    program = torch.export.export(
        Squeezed(), (torch.ones(3, 2),), dynamic_shapes=shapes, strict=False
    )
    squeezed = [node for node in program.graph.nodes if "squeeze.dim" in str(node.target)]
    assert len(squeezed) == 1
    assert program.module()(torch.ones(5, 2)).shape == (5, 2)


@given(chosen=st.lists(st.booleans(), min_size=1, max_size=12))
def test_chosen_first_is_a_stable_partition(chosen: list[bool]) -> None:
    expected = sorted(range(len(chosen)), key=lambda number: not chosen[number])
    assert chosen_first(torch.tensor(chosen)).tolist() == expected


def test_what_is_not_cut_by_a_tensor_is_as_it_was() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    with uncut_features():
        assert len(list(rows)) == 3
        assert [len(part) for part in rows.split([1, 2])] == [1, 2]
        assert torch.equal(rows[torch.tensor([2, 0])], torch.tensor([[4.0, 5.0], [0.0, 1.0]]))
        assert rows[:, 1].unbind()[0] == 1
        assert torch.tensor(4).tolist() == 4


def test_who_asks_is_told_what_is_left_whole() -> None:
    told: list[tuple[Tensor, Tensor]] = []
    rows, sizes = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 2])
    with uncut_features(lambda *pair: told.append(pair)):
        (whole,) = torch.split(rows, sizes.tolist())
        assert whole is rows
    ((tensor, lengths),) = told
    assert tensor is rows
    assert lengths is sizes


def test_afterwards_torch_is_what_it_was() -> None:
    with uncut_features(), uncut_features():
        pass
    scalars = [torch.tensor(1), torch.tensor(2)]
    assert torch.tensor(scalars).tolist() == [1, 2]
    assert len(torch.split(torch.arange(4), [1, 3])) == 2
    assert [int(value) for value in torch.arange(3)] == [0, 1, 2]
