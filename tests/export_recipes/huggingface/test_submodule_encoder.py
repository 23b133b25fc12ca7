"""A model without a method for its encoder is cut at its projector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from mmedge_export.huggingface.multimodal_decoder import recipe
from mmedge_export.huggingface.submodule_encoder import SubmoduleEncoder

from mmedge.data.processed import samples_of_upstream
from mmedge.errors import ProjectError
from mmedge.proposing import propose

PROJECTOR = "model.multi_modal_projector"


@pytest.fixture(scope="module")
def parts(checkpoint: Callable[[str], Path]) -> Any:
    """Qwen2-Audio's model, project and example."""
    project = propose(checkpoint("qwen2_audio")).project
    arrays = samples_of_upstream(project).first(2)
    example = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return zoo.load(checkpoint("qwen2_audio")), project, example


def options(project: Any, **changes: Any) -> dict[str, Any]:
    stated = dict(project.file.recipe)
    del stated["name"]
    return stated | changes


def test_the_parts_write_what_generate_writes(
    parts: Any, apart_type: Any, check: Any, tmp_path: Path
) -> None:
    model, project, example = parts
    assert project.file.recipe["encoders"] == {"audio_encoder": PROJECTOR}
    split = recipe.split(model, project, options(project), example)
    bindings = {part.name: list(part.bindings) for part in split.components}
    assert bindings["audio_encoder"] == ["input_features", "feature_attention_mask"]
    assert "input_features" not in bindings["merge_features"]
    apart = apart_type(model, example, project, split, tmp_path)
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


def test_a_submodule_that_there_is_not(parts: Any) -> None:
    model, project, example = parts
    encoders = {"audio_encoder": "model.multi_model_projector"}
    with pytest.raises(ProjectError, match="neither a method nor a submodule") as caught:
        recipe.split(model, project, options(project, encoders=encoders), example)
    assert PROJECTOR in str(caught.value)


def test_a_submodule_that_forward_does_not_call(parts: Any) -> None:
    model, _, example = parts
    encoder = SubmoduleEncoder(model, "lm_head", ("input_ids",), blanks={}, flat=frozenset())
    text = {name: example[name] for name in ("input_ids", "attention_mask")}
    found = SubmoduleEncoder(
        model, PROJECTOR, ("input_ids", "attention_mask"), blanks={}, flat=frozenset()
    )
    with pytest.raises(ProjectError, match="forward does not call"):
        found.result(text)
    assert encoder.result(text).shape[:2] == example["input_ids"].shape
