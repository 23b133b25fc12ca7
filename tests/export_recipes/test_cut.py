from __future__ import annotations

import pytest
import torch
from mmedge_export.cut import Cut, copied, free_name, leaf_names

from mmedge.errors import ProjectError


@pytest.mark.parametrize(
    ("path", "count", "names"),
    [
        ("image_encoder", 1, ("image_features",)),
        ("deep.right", 1, ("deep_right_features",)),
        ("lstm", 2, ("lstm_features_0", "lstm_features_1")),
    ],
)
def test_names_are_made_of_the_path(path: str, count: int, names: tuple[str, ...]) -> None:
    assert leaf_names(path, count) == names


def test_a_name_that_is_taken_is_lengthened_until_it_is_free() -> None:
    assert free_name("y", ()) == "y"
    assert free_name("y", ("y", "y_out")) == "y_out_out"
    assert free_name("y", ("y",), "_in") == "y_in"


def test_what_a_submodule_returned_comes_back_in_its_structure() -> None:
    result = {"states": torch.zeros(2), "last": (torch.zeros(1), torch.zeros(3))}
    cut = Cut("lstm", result, taken=("lstm_features_1",))
    assert cut.outputs == ("lstm_features_0", "lstm_features_1_out", "lstm_features_2")
    given = tuple(leaf + 1 for leaf in cut.leaves if isinstance(leaf, torch.Tensor))
    restored = cut.restore(given)
    assert isinstance(restored, dict)
    assert restored.keys() == result.keys()
    assert [part.tolist() for part in restored["last"]] == [[1], [1, 1, 1]]
    restored["states"].zero_()
    assert all(leaf.all() for leaf in given), "forward may change what it gets, not what is given"


def test_a_copy_is_apart() -> None:
    tensor = torch.zeros(2)
    made = copied([tensor, "kept"])
    assert isinstance(made, list)
    made[0].add_(1)
    assert not tensor.any()
    assert made[1] == "kept"


@pytest.mark.parametrize(("result", "found"), [("text", "str"), ((), "nothing"), ([3], "int")])
def test_what_is_no_tensor_cannot_be_cut(result: object, found: str) -> None:
    with pytest.raises(ProjectError, match="does not return tensors") as caught:
        Cut("name", result)
    assert caught.value.details["found"] == found
