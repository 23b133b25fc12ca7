"""What was encoded once is not computed again, and the answers are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.errors import BundleError, InputError
from mmedge.runtime import Bundle, load
from mmedge.runtime.sampling import Sampling
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Wiring

IDS = np.array([[1, 7, 8, 3], [1, 9, 7, 4]])
PIXELS = np.random.default_rng(5).normal(size=(2, 3)).astype(np.float32)


@pytest.fixture(params=["growing", "fixed"])
def bundle(request: pytest.FixtureRequest, vlm: Any) -> Iterator[Bundle]:
    with load(getattr(vlm, request.param), threads=1) as opened:
        yield opened


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each component ran."""
    from mmedge.runtime.onnxruntime_runner import OnnxRuntimeRunner

    counted: Counter[str] = Counter()
    infer = OnnxRuntimeRunner.infer

    def watched(self: OnnxRuntimeRunner, feeds: Any) -> Any:
        counted[self.name] += 1
        return infer(self, feeds)

    monkeypatch.setattr(OnnxRuntimeRunner, "infer", watched)
    return counted


def test_many_questions_cost_one_image(bundle: Bundle, calls: Counter[str]) -> None:
    session = bundle.encode(pixel_values=PIXELS)
    assert calls == {"vision_encoder": 1}
    for ids in (IDS, IDS[:, :2], IDS[::-1]):
        found = session.generate(input_ids=ids)
        assert calls["vision_encoder"] == 1
        np.testing.assert_array_equal(found, bundle.generate(input_ids=ids, pixel_values=PIXELS))
        np.testing.assert_array_equal(session(input_ids=ids)["answer"], found)
        calls["vision_encoder"] = 1


def test_many_images_cost_one_question(bundle: Bundle, calls: Counter[str]) -> None:
    session = bundle.encode(input_ids=IDS)
    assert calls == {"embed_tokens": 1}
    assert not session.kept.values.keys() - {"embed_tokens.inputs_embeds"}
    for pixels in (PIXELS, -PIXELS):
        calls.clear()
        found = session.generate(pixel_values=pixels, max_new_tokens=1)
        assert calls["embed_tokens"] == 0
        np.testing.assert_array_equal(
            found, bundle.generate(input_ids=IDS, pixel_values=pixels, max_new_tokens=1)
        )


def test_one_image_serves_a_batch_of_questions(bundle: Bundle) -> None:
    session = bundle.encode(pixel_values=PIXELS[:1])
    found = session.generate(input_ids=IDS)
    both = np.repeat(PIXELS[:1], 2, axis=0)
    np.testing.assert_array_equal(found, bundle.generate(input_ids=IDS, pixel_values=both))
    alone = session.generate(input_ids=IDS[:1])
    np.testing.assert_array_equal(
        alone, bundle.generate(input_ids=IDS[:1], pixel_values=PIXELS[:1])
    )


def test_a_session_takes_the_settings_of_a_bundle(bundle: Bundle) -> None:
    session = bundle.encode(pixel_values=PIXELS[:1])
    options: dict[str, Any] = {
        "max_new_tokens": 3,
        "sampling": Sampling(temperature=3, seed=4),
        "stop_token_ids": [5],
    }
    seen: list[Any] = []
    texts: list[list[str]] = []
    found = session.generate(
        input_ids=IDS[:1], on_token=seen.append, on_text=texts.append, **options
    )
    wanted = bundle.generate(input_ids=IDS[:1], pixel_values=PIXELS[:1], **options)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.stack(seen, axis=1), found)
    assert "".join(piece for (piece,) in texts) == bundle.decode(found)[0]


@pytest.mark.parametrize(
    ("again", "problem"),
    [
        ({"pixel_values": PIXELS}, "'pixel_values' is settled by what was encoded"),
        ({"input_idz": IDS}, "did you mean 'input_ids'"),
        ({}, "'input_ids' is missing"),
        ({"input_ids": np.repeat(IDS, 2, axis=0)}, "2 encoded, 4 given now"),
        ({"input_ids": IDS[:1]}, "2 encoded, 1 given now"),
    ],
)
def test_what_does_not_fit_the_session(bundle: Bundle, again: Any, problem: str) -> None:
    session = bundle.encode(pixel_values=PIXELS)
    with pytest.raises(InputError, match=problem):
        session.generate(**again)
    session.generate(input_ids=IDS)


@pytest.mark.parametrize("inputs", [{}, {"pixel_values": None}, {"attention_mask": IDS}])
def test_inputs_that_decide_nothing(bundle: Bundle, inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="nothing can be computed from these inputs alone"):
        bundle.encode(**inputs)


def test_an_unfit_input_is_not_encoded(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="there is no input 'photo'"):
        bundle.encode(photo=PIXELS)
    with pytest.raises(InputError, match=r"outside 1\.\.8"):
        bundle.encode(pixel_values=PIXELS[:0])


def test_a_session_outlives_no_bundle(vlm: Any) -> None:
    with load(vlm.growing, threads=1) as bundle:
        session = bundle.encode(pixel_values=PIXELS)
    with pytest.raises(BundleError, match="closed"):
        session(input_ids=IDS)


# --- two encoders and a score of every pair ---

TOWER = """{name} (float[{axis}, 3] {input}) => (float[{axis}, 8] {input}_embeds)
{{ {input}_embeds = MatMul({input}, sight) }}"""
PAIRS = """pairs (float[images, 8] image_embeds, float[texts, 8] text_embeds, bool[images] shown)
    => (float[images, texts] scores)
{ turned = Transpose<perm = [1, 0]>(text_embeds)
  all = MatMul(image_embeds, turned)
  one = Constant<value = int64[1] {1}>()
  column = Unsqueeze(shown, one)
  factor = Cast<to = 1>(column)
  scores = Mul(all, factor) }"""


def _spec(name: str, *shape: str | int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


IMAGE, TEXT = _spec("image", "images", 3), _spec("text", "texts", 3)
SHOWN = _spec("shown", "images", dtype="bool")
RETRIEVAL = Wiring(
    inputs=(ModelInput(IMAGE), ModelInput(TEXT), ModelInput(SHOWN, indicates="image")),
    components=(
        ComponentSpec(
            "image_encoder",
            "image",
            (IMAGE,),
            (_spec("image_embeds", "images", 8),),
            {"image": "image"},
        ),
        ComponentSpec(
            "text_encoder", "text", (TEXT,), (_spec("text_embeds", "texts", 8),), {"text": "text"}
        ),
        ComponentSpec(
            "pairs",
            "multimodal",
            (_spec("image_embeds", "images", 8), _spec("text_embeds", "texts", 8), SHOWN),
            (_spec("scores", "images", "texts"),),
            {
                "image_embeds": "image_encoder.image_embeds",
                "text_embeds": "text_encoder.text_embeds",
                "shown": "shown",
            },
        ),
    ),
    outputs={"scores": "pairs.scores", "image_embeds": "image_encoder.image_embeds"},
    axes={"images": Axis(1, 1, 8), "texts": Axis(1, 1, 8)},
)
QUERIES = np.random.default_rng(6).normal(size=(3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def retrieval(vlm: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    graphs = {
        "image_encoder": TOWER.format(name="image_encoder", axis="images", input="image"),
        "text_encoder": TOWER.format(name="text_encoder", axis="texts", input="text"),
        "pairs": PAIRS,
    }
    path: Path = vlm.write(tmp_path_factory.mktemp("retrieval"), RETRIEVAL, graphs)
    with load(path, threads=1) as opened:
        yield opened


@pytest.mark.parametrize("kept", ["image", "text"])
@pytest.mark.parametrize("sizes", [(1, 3), (2, 1), (2, 3)])
def test_either_side_of_a_retrieval_is_kept(
    retrieval: Bundle, calls: Counter[str], kept: str, sizes: tuple[int, int]
) -> None:
    inputs = {"image": PIXELS[: sizes[0]], "text": QUERIES[: sizes[1]]}
    wanted = retrieval(**inputs)
    session = retrieval.encode(**{kept: inputs.pop(kept)})
    calls.clear()
    found = session(**inputs)
    assert calls[f"{kept}_encoder"] == 0
    assert found["scores"].shape == sizes
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6)


def test_an_encoded_image_is_there(retrieval: Bundle) -> None:
    session = retrieval.encode(image=PIXELS)
    assert session(text=QUERIES)["scores"].any()
    with pytest.raises(InputError, match="'shown' is settled"):
        session(text=QUERIES, shown=np.array([True, False]))


def test_what_has_no_axis_to_repeat_along_is_not_repeated(vlm: Any, tmp_path: Path) -> None:
    """Features of all images in one row of patches: nothing says whose they are."""
    flat = _spec("image_features", "patches", 8)
    wiring = vlm.wiring()
    vision = msgspec.structs.replace(wiring.components[0], outputs=(flat,))
    fusion = wiring.components[2]
    fusion = msgspec.structs.replace(fusion, inputs=(*fusion.inputs[:2], flat))
    components = (vision, wiring.components[1], fusion, wiring.components[3])
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, msgspec.structs.replace(wiring, components=components), vlm.graphs())
    with load(tmp_path, threads=1) as bundle:
        session = bundle.encode(pixel_values=PIXELS[:1])
        session.generate(input_ids=IDS[:1])
        with pytest.raises(InputError, match="cannot be repeated for 2 examples"):
            session.generate(input_ids=IDS)
