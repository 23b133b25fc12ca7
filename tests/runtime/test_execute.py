from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from mmedge.errors import BundleError, InputError
from mmedge.runtime.execute import evaluate, execute
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Substitute, Wiring

FEATURES = ("batch", 2)


def component(name: str, bindings: dict[str, str], **shapes: tuple) -> ComponentSpec:
    """A component on float32 [batch, 2] whose outputs are `shapes`."""
    return ComponentSpec(
        name=name,
        modality="tensor",
        inputs=tuple(TensorSpec(key, "float32", FEATURES) for key in bindings),
        outputs=tuple(TensorSpec(key, "float32", shape) for key, shape in shapes.items()),
        bindings=bindings,
    )


class Recorder:
    """Runs Python functions as components, and remembers which and on what."""

    def __init__(self, **functions: Callable[..., dict[str, Array]]) -> None:
        self.functions = functions
        self.calls: list[str] = []
        self.feeds: dict[str, dict[str, Array]] = {}

    def __call__(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        self.calls.append(name)
        self.feeds[name] = feeds
        return self.functions[name](**feeds)


IMAGE = ModelInput(TensorSpec("image", "float32", FEATURES), modality="image", optional=True)
TEXT = ModelInput(TensorSpec("text", "float32", FEATURES), modality="text")
HAS_IMAGE = ModelInput(TensorSpec("has_image", "bool", ("batch",)), indicates="image")
FEATURE_SPEC = TensorSpec("features", "float32", FEATURES)


def two_modalities(**changes: object) -> Wiring:
    """image -> image_encoder, text -> text_encoder, both -> fusion."""
    wiring = Wiring(
        inputs=(IMAGE, TEXT),
        components=(
            component("image_encoder", {"pixels": "image"}, features=FEATURES),
            component("text_encoder", {"tokens": "text"}, features=FEATURES),
            component(
                "fusion",
                {"a": "image_encoder.features", "b": "text_encoder.features"},
                scores=("batch", 2),
            ),
        ),
        outputs={"scores": "fusion.scores"},
        axes={"batch": Axis(min=1, opt=1, max=8)},
        substitutes={"image_encoder.features": Substitute(FEATURE_SPEC)},
    )
    return msgspec.structs.replace(wiring, **changes)


def recorder() -> Recorder:
    return Recorder(
        image_encoder=lambda pixels: {"features": pixels * 10},
        text_encoder=lambda tokens: {"features": tokens + 1},
        fusion=lambda a, b: {"scores": a + b},
    )


def ones(batch: int = 3) -> Array:
    return np.ones((batch, 2), np.float32)


def test_runs_along_the_wiring() -> None:
    run = recorder()
    outputs = execute(two_modalities(), {"image": ones(), "text": ones()}, run)
    np.testing.assert_array_equal(outputs["scores"], ones() * 12)
    assert run.calls == ["image_encoder", "text_encoder", "fusion"]


def test_a_diamond_runs_every_component_once() -> None:
    wiring = Wiring(
        inputs=(TEXT,),
        components=(
            component("stem", {"x": "text"}, y=FEATURES),
            component("left", {"x": "stem.y"}, y=FEATURES),
            component("right", {"x": "stem.y"}, y=FEATURES),
            component("join", {"a": "left.y", "b": "right.y"}, y=FEATURES),
        ),
        outputs={"y": "join.y", "middle": "left.y", "text": "text"},
    )
    run = Recorder(
        stem=lambda x: {"y": x + 1},
        left=lambda x: {"y": x * 2},
        right=lambda x: {"y": x * 3},
        join=lambda a, b: {"y": a - b},
    )
    outputs = execute(wiring, {"text": ones()}, run)
    assert run.calls == ["stem", "left", "right", "join"]
    np.testing.assert_array_equal(outputs["y"], ones() * -2)
    np.testing.assert_array_equal(outputs["middle"], ones() * 4)
    np.testing.assert_array_equal(outputs["text"], ones())


def test_only_what_the_outputs_need_runs() -> None:
    run = recorder()
    wiring = two_modalities(outputs={"features": "text_encoder.features"})
    execute(wiring, {"image": ones(), "text": ones()}, run)
    assert run.calls == ["text_encoder"]


def test_known_sources_are_not_computed_again() -> None:
    run, wiring = recorder(), two_modalities()
    inputs = {"image": ones(), "text": ones()}
    known = evaluate(wiring, inputs, run, ["image_encoder.features"])
    assert run.calls == ["image_encoder"]
    outputs = execute(wiring, {"text": ones() * 5}, run, known=known)
    assert run.calls == ["image_encoder", "text_encoder", "fusion"]
    np.testing.assert_array_equal(outputs["scores"], ones() * 16)


def test_a_required_input_behind_a_known_source_may_be_left_out() -> None:
    run = recorder()
    known = {"text_encoder.features": ones()}
    outputs = execute(two_modalities(), {"image": ones()}, run, known=known)
    np.testing.assert_array_equal(outputs["scores"], ones() * 11)


def test_a_known_value_gives_a_substitute_its_batch() -> None:
    known = {"text_encoder.features": ones(5)}
    outputs = execute(two_modalities(), {}, recorder(), known=known)
    np.testing.assert_array_equal(outputs["scores"], ones(5))


def test_a_known_value_of_another_shape_is_refused() -> None:
    known = {"text_encoder.features": np.ones((3, 7), np.float32)}
    with pytest.raises(BundleError, match=r"known value of 'text_encoder\.features'"):
        execute(two_modalities(), {}, recorder(), known=known)


def test_an_absent_modality_is_skipped_and_replaced_by_zeros() -> None:
    run = recorder()
    outputs = execute(two_modalities(), {"text": ones()}, run)
    assert run.calls == ["text_encoder", "fusion"]
    np.testing.assert_array_equal(outputs["scores"], ones() * 2)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_a_learned_substitute_is_repeated_along_the_batch(shape: tuple[int, ...]) -> None:
    learned = np.float32([7, 8]).reshape(shape)
    wiring = two_modalities(
        substitutes={"image_encoder.features": Substitute(FEATURE_SPEC, "absent.npy")}
    )
    substitutes = {"image_encoder.features": learned}
    outputs = execute(wiring, {"text": ones()}, recorder(), substitutes=substitutes)
    np.testing.assert_array_equal(outputs["scores"], np.tile(np.float32([9, 10]), (3, 1)))
    present = execute(
        wiring, {"text": ones(), "image": ones()}, recorder(), substitutes=substitutes
    )
    np.testing.assert_array_equal(present["scores"], ones() * 12)


@pytest.mark.parametrize(
    "learned",
    [None, np.zeros(3, np.float32), np.zeros(2, np.float64), np.zeros((2, 2), np.float32)],
)
def test_a_learned_substitute_that_is_missing_or_unfit_is_refused(learned: Array | None) -> None:
    source = "image_encoder.features"
    wiring = two_modalities(substitutes={source: Substitute(FEATURE_SPEC, "absent.npy")})
    substitutes = {} if learned is None else {source: learned}
    with pytest.raises(BundleError, match=rf"learned value of '{source}'"):
        execute(wiring, {"text": ones()}, recorder(), substitutes=substitutes)


def test_a_learned_substitute_keeps_its_own_size_along_an_axis_nobody_knows() -> None:
    patches = TensorSpec("features", "float32", ("batch", "patches", 2))
    wiring = Wiring(
        inputs=(IMAGE, TEXT),
        components=(
            ComponentSpec(
                "fusion",
                "tensor",
                (patches, TEXT.spec),
                (TensorSpec("y", "float32", ("batch", "patches", 2)),),
                {"features": "image", "text": "text"},
            ),
        ),
        outputs={"y": "fusion.y"},
        substitutes={"image": Substitute(patches, "patches.npy")},
    )
    learned = np.arange(8, dtype=np.float32).reshape(4, 2)
    run = Recorder(fusion=lambda features, text: {"y": features + text[:, None]})
    outputs = execute(wiring, {"text": ones()}, run, substitutes={"image": learned})
    np.testing.assert_array_equal(outputs["y"], np.stack([learned + 1] * 3))


def test_a_substitute_for_the_input_itself_runs_its_encoder() -> None:
    run = recorder()
    wiring = two_modalities(substitutes={"image": Substitute(IMAGE.spec)})
    execute(wiring, {"text": ones()}, run)
    assert run.calls == ["image_encoder", "text_encoder", "fusion"]
    np.testing.assert_array_equal(run.feeds["image_encoder"]["pixels"], ones() * 0)


def test_zeros_take_the_axis_minimum_where_no_input_knows_it() -> None:
    run = recorder()
    optional_text = msgspec.structs.replace(TEXT, optional=True)
    wiring = two_modalities(
        inputs=(IMAGE, optional_text),
        axes={"batch": Axis(min=2, opt=2, max=4)},
        substitutes={
            "image_encoder.features": Substitute(FEATURE_SPEC),
            "text_encoder.features": Substitute(FEATURE_SPEC),
        },
    )
    outputs = execute(wiring, {}, run)
    assert run.calls == ["fusion"]
    np.testing.assert_array_equal(outputs["scores"], ones(2) * 0)


def test_absence_reaches_every_component_behind_it_and_names_the_input() -> None:
    run = recorder()
    wiring = two_modalities(substitutes={})
    with pytest.raises(InputError, match="output 'scores' needs optional input 'image'"):
        execute(wiring, {"text": ones()}, run)
    assert run.calls == ["text_encoder"]
    assert evaluate(wiring, {"text": ones()}, run, ["fusion.scores"]) == {}


def with_indicator(indicator: ModelInput = HAS_IMAGE) -> tuple[Wiring, Recorder]:
    head = ComponentSpec(
        "head",
        "tensor",
        (FEATURE_SPEC, indicator.spec),
        (TensorSpec("y", "float32", FEATURES),),
        {"features": "fusion.scores", "has_image": "has_image"},
    )
    wiring = two_modalities()
    wiring = msgspec.structs.replace(
        wiring,
        inputs=(*wiring.inputs, indicator),
        components=(*wiring.components, head),
        outputs={"y": "head.y"},
    )
    run = recorder()
    run.functions["head"] = lambda features, has_image: {"y": features}
    return wiring, run


@pytest.mark.parametrize(("dtype", "shape"), [("bool", ("batch",)), ("float32", ("batch", 1))])
@pytest.mark.parametrize("present", [True, False])
def test_an_indicator_is_filled_in(dtype: str, shape: tuple, present: bool) -> None:
    item = ModelInput(TensorSpec("has_image", dtype, shape), indicates="image")
    wiring, run = with_indicator(item)
    execute(wiring, {"text": ones()} | ({"image": ones()} if present else {}), run)
    filled = run.feeds["head"]["has_image"]
    assert filled.dtype == dtype
    np.testing.assert_array_equal(filled, np.full((3, *shape[1:]), present))


def test_an_indicator_of_the_caller_is_kept() -> None:
    wiring, run = with_indicator()
    given = np.array([True, False, True])
    execute(wiring, {"text": ones(), "image": ones(), "has_image": given}, run)
    np.testing.assert_array_equal(run.feeds["head"]["has_image"], given)


def test_an_indicator_cannot_claim_an_absent_input() -> None:
    wiring, run = with_indicator()
    with pytest.raises(InputError, match="'has_image' says that 'image' is present"):
        execute(wiring, {"text": ones(), "has_image": np.array([False, True, False])}, run)


def test_known_features_count_as_the_input_being_present() -> None:
    wiring, run = with_indicator()
    execute(wiring, {"text": ones()}, run, known={"image_encoder.features": ones()})
    assert run.feeds["head"]["has_image"].all()
    # What fusion made may have had a substitute behind it, so it proves nothing.
    execute(wiring, {"text": ones()}, run, known={"fusion.scores": ones()})
    assert not run.feeds["head"]["has_image"].any()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": ones()}, "input 'text' is missing"),
        ({"texts": ones(), "text": ones()}, "did you mean 'text'"),
        ({"text": ones().tolist()}, "not a numpy array"),
        ({"text": ones().astype(np.float64)}, "wrong dtype"),
        ({"text": np.ones((3, 4), np.float32)}, "wrong shape"),
        ({"text": ones(9)}, "outside 1..8"),
        ({"text": ones(0)}, "outside 1..8"),
        ({"text": ones(3), "image": ones(2)}, "disagrees"),
        ({"text": ones() * np.float32(np.nan)}, "'text' is not finite"),
        ({"text": np.float32([[np.inf, np.nan]])}, "1 NaN and 1 infinite of 2"),
        ({"text": ones(), "image": -np.inf * ones()}, "'image' is not finite"),
    ],
)
def test_unfit_inputs_are_refused_before_anything_runs(inputs: dict, message: str) -> None:
    run = recorder()
    with pytest.raises(InputError, match=message):
        execute(two_modalities(), inputs, run)
    assert run.calls == []


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"features": np.ones((3, 5), np.float32)}, "'features' of component 'text_encoder'"),
        ({"features": np.ones((3, 2), np.float16)}, "'features' of component 'text_encoder'"),
        ({"features": np.ones((1, 2), np.float32)}, "with {'batch': 3}"),
        ({"feature": ones()}, "was not returned"),
    ],
)
def test_a_component_that_breaks_its_declaration_is_named(returned: dict, message: str) -> None:
    run = recorder()
    run.functions["text_encoder"] = lambda tokens: returned
    with pytest.raises(BundleError, match=message):
        execute(two_modalities(), {"text": ones()}, run)


def test_components_that_do_not_fit_each_other_are_both_named() -> None:
    wiring = Wiring(
        inputs=(TEXT,),
        components=(
            component("encoder", {"x": "text"}, y=("batch", 3)),
            component("head", {"x": "encoder.y"}, y=FEATURES),
        ),
        outputs={"y": "head.y"},
    )
    run = Recorder(encoder=lambda x: {"y": np.ones((3, 3), np.float32)}, head=lambda x: {"y": x})
    with pytest.raises(BundleError, match=r"'encoder\.y' for input 'x' of component 'head'"):
        execute(wiring, {"text": ones()}, run)
    assert run.calls == ["encoder"]


def test_axis_names_of_one_component_are_its_own() -> None:
    """Exporters reuse names such as "s0" for different sizes in different graphs."""
    wiring = Wiring(
        inputs=(TEXT,),
        components=(
            component("pool", {"x": "text"}, y=("s0", 2)),
            component("head", {"x": "pool.y"}, y=("s0", 2)),
        ),
        outputs={"y": "head.y", "pooled": "pool.y"},
    )
    run = Recorder(pool=lambda x: {"y": x[:1]}, head=lambda x: {"y": np.tile(x, (5, 1))})
    outputs = execute(wiring, {"text": ones()}, run)
    assert (len(outputs["pooled"]), len(outputs["y"])) == (1, 5)


def test_a_source_that_nothing_makes_is_refused() -> None:
    with pytest.raises(BundleError, match=r"did you mean 'fusion\.scores'"):
        evaluate(two_modalities(), {"text": ones()}, recorder(), ["fusion.score"])
