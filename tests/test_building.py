"""`mmedge build`: engines into a bundle that is there, by TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import tiny_vlm

from mmedge.building import Work, _expectation, build_bundle
from mmedge.damaged_engines import without_damaged
from mmedge.engine_plan import BuildOptions, Range
from mmedge.errors import BuildError, BundleError, MissingDependencyError, OutputError, ProjectError
from mmedge.resources import data_dir
from mmedge.runtime.manifest import Manifest, check_files, read_manifest
from mmedge.storage import exclusive, sha256_file
from mmedge.targets import load_target

pytest.importorskip("tensorrt_rtx")
TARGET = "rtx-3060-12g"
# What a device has: the base install and the library.
COMPILER = ["torch", "onnx", "onnx_ir", "onnxscript", "transformers", "onnxruntime"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_system) -> Path:
    """The tiny bundle with engines for one target. Not to be changed."""
    bundle = tmp_path_factory.mktemp("building") / "tiny.mmedge"
    shutil.copytree(tiny_system.bundle, bundle)
    build_bundle(bundle, target=TARGET)
    return bundle


@pytest.fixture
def with_engines(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "built.mmedge"))


def engine_files(manifest: Manifest) -> list[str]:
    return [e.file for group in manifest.engines.values() for e in group if e.kind == "tensorrt"]


def test_every_component_has_an_engine_before_its_portable_one(finished: Path) -> None:
    manifest = read_manifest(finished)
    for name, engines in manifest.engines.items():
        assert [engine.kind for engine in engines] == ["tensorrt", "onnxruntime"]
        assert engines[0].file == f"engines/{name}.sm86.engine"
        assert engines[0].built_with["compute_capability"] == "8.6"
        assert engines[0].options == {"library": "tensorrt_rtx"}
        assert (finished / engines[0].file).read_bytes()[:4] == b"vtrt"
    check_files(finished, manifest)


def test_the_plan_is_in_the_bundle(finished: Path) -> None:
    manifest = read_manifest(finished)
    plans = manifest.plans[TARGET]
    assert set(plans) == {component.name for component in manifest.wiring.components}
    batch = manifest.wiring.axes["batch"]
    for plan in plans.values():
        assert plan.profiles[0]["batch"] == Range(batch.min, batch.opt, batch.max)


def test_what_is_built_is_kept(with_engines: Path) -> None:
    before = {name: (with_engines / name).stat().st_mtime_ns for name in _files(with_engines)}
    facts = build_bundle(with_engines, target=TARGET)
    assert all(row["was_there"] for row in facts["engines"])
    assert {name: (with_engines / name).stat().st_mtime_ns for name in before} == before


def test_a_build_that_was_stopped_goes_on(tiny_bundle: Path) -> None:
    def stop(line: str) -> None:
        if line.startswith("fusion"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle(tiny_bundle, target=TARGET, progress=stop)
    manifest = read_manifest(tiny_bundle)
    check_files(tiny_bundle, manifest)
    made = engine_files(manifest)
    assert 0 < len(made) < len(manifest.engines)
    facts = build_bundle(tiny_bundle, target=TARGET)
    assert {row["file"] for row in facts["engines"] if row["was_there"]} == set(made)
    assert [path.name for path in tiny_bundle.parent.iterdir()] == [tiny_bundle.name]


def test_engines_are_the_same_bytes_every_time(finished: Path, tiny_bundle: Path) -> None:
    build_bundle(tiny_bundle, target=TARGET)
    for name in engine_files(read_manifest(finished)):
        assert sha256_file(tiny_bundle / name) == sha256_file(finished / name)


def test_engines_of_two_gpus_lie_side_by_side(with_engines: Path) -> None:
    build_bundle(with_engines, target="rtx-4060")
    manifest = read_manifest(with_engines)
    check_files(with_engines, manifest)
    for name, engines in manifest.engines.items():
        names = [engine.file for engine in engines[:2]]
        assert names == [f"engines/{name}.sm89.engine", f"engines/{name}.sm86.engine"]
    assert set(manifest.plans) == {TARGET, "rtx-4060"}


def test_other_shapes_build_the_engine_again(with_engines: Path) -> None:
    axis = read_manifest(with_engines).wiring.axes["batch"]
    lines: list[str] = []
    facts = build_bundle(
        with_engines,
        target=TARGET,
        options=BuildOptions({"batch": "1,2:4:4"}),
        progress=lines.append,
    )
    assert not any(row["was_there"] for row in facts["engines"])
    manifest = read_manifest(with_engines)
    check_files(with_engines, manifest)
    for plan in manifest.plans[TARGET].values():
        assert [p["batch"] for p in plan.profiles] == [Range(1, 1, 1), Range(2, 4, 4)]
    was = f"batch={axis.min}:{axis.opt}:{axis.max}"
    assert facts["remarks"] == [
        f"replacing the engines of {TARGET}: shapes batch=1:1:1 and batch=2:4:4, not {was}"
    ]
    assert facts["remarks"][0] in lines


@pytest.mark.parametrize("damage", ["missing", "truncated", "link"])
def test_a_damaged_engine_is_built_again(with_engines: Path, damage: str) -> None:
    manifest = read_manifest(with_engines)
    file, *others = engine_files(manifest)
    engine = with_engines / file
    whole = engine.read_bytes()
    engine.unlink()
    if damage == "truncated":
        engine.write_bytes(whole[:-1])
    if damage == "link":
        (with_engines.parent / "elsewhere").write_bytes(whole)
        engine.symlink_to(with_engines.parent / "elsewhere")
    facts = build_bundle(with_engines, target=TARGET)
    assert {row["file"] for row in facts["engines"] if row["was_there"]} == set(others)
    (remark,) = facts["remarks"]
    assert remark.startswith(file)
    assert remark.endswith("; it is built again")
    check_files(with_engines, read_manifest(with_engines))
    assert engine.read_bytes() == whole
    assert not engine.is_symlink()


def test_a_damaged_engine_of_another_target_is_left_out_and_told(with_engines: Path) -> None:
    manifest = read_manifest(with_engines)
    file = engine_files(manifest)[0]
    (with_engines / file).unlink()
    left, lines = without_damaged(with_engines, manifest, load_target("rtx-4060"))
    assert file not in {*left.files, *engine_files(left)}
    (line,) = lines
    assert line.endswith(f"build it again: mmedge build {with_engines} --target {TARGET}")


def test_a_card_without_room_for_inputs_and_outputs(tiny_bundle: Path, tmp_path: Path) -> None:
    text = (data_dir("profiles/targets") / f"{TARGET}.toml").read_text()
    small = tmp_path / "small.toml"
    text = text.replace(f'"{TARGET}"', '"small"').replace("value = 12884901888", "value = 1000")
    small.write_text(text)
    lines: list[str] = []
    with pytest.raises(BuildError, match="inputs and outputs of the engines alone"):
        build_bundle(tiny_bundle, target=str(small), progress=lines.append)
    assert not [line for line in lines if line.startswith("building")]


def test_no_compiler_is_needed(
    tiny_bundle: Path, run_python: Callable[..., CompletedProcess[str]]
) -> None:
    code = "import sys; from mmedge.cli import main; main(sys.argv[1:])"
    done = run_python(code, "build", tiny_bundle, "--target", TARGET, "--json", without=COMPILER)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["engines"]
    assert all((tiny_bundle / row["file"]).stat().st_size == row["size_bytes"] for row in rows)


def test_it_says_what_it_will_do_before_it_begins(tiny_bundle: Path) -> None:
    lines: list[str] = []
    build_bundle(tiny_bundle, target=TARGET, progress=lines.append)
    count = len(read_manifest(tiny_bundle).engines)
    assert lines[0].startswith(f"building {count} engines: from ")
    assert any(line.endswith("%") for line in lines[1:])


def test_one_engine_is_not_called_several(finished: Path) -> None:
    manifest = read_manifest(finished)
    name, plan = next(iter(manifest.plans[TARGET].items()))
    work = Work(name, finished / manifest.engines[name][-1].file, plan, None)
    assert _expectation([work]).startswith("building 1 engine: from ")
    assert _expectation([work, work]).startswith("building 2 engines: from ")


def test_a_target_without_engines_of_its_own(tiny_bundle: Path) -> None:
    with pytest.raises(BuildError, match="'cpu' has no engines of its own"):
        build_bundle(tiny_bundle)


def test_a_library_that_is_not_there(tiny_bundle: Path) -> None:
    before = sorted(_files(tiny_bundle))
    with pytest.raises(MissingDependencyError, match="tensorrt is needed") as caught:
        build_bundle(tiny_bundle, target="jetson-orin-nano-8")
    assert "comes with JetPack" in str(caught.value)
    assert sorted(_files(tiny_bundle)) == before


def test_two_builds_at_once_into_one_bundle(tiny_bundle: Path) -> None:
    with exclusive(tiny_bundle), pytest.raises(OutputError, match="another process is writing"):
        build_bundle(tiny_bundle, target=TARGET)


def test_a_damaged_graph_is_found_before_it_is_built(tiny_bundle: Path) -> None:
    graph = next(tiny_bundle.glob("engines/*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-10])
    with pytest.raises(BundleError, match="changed or truncated"):
        build_bundle(tiny_bundle, target=TARGET)


def test_graphs_for_another_target_that_are_refused(tmp_path: Path) -> None:
    texts = tiny_vlm.graphs()
    texts["vision_encoder"] = """
        vision_encoder (float[batch, 3] pixel_values) => (int64[2, n] image_features)
        { image_features = NonZero(pixel_values) }"""
    (tmp_path / "it.mmedge").mkdir()
    tiny_vlm.tokenizer_json(tmp_path / "it.mmedge" / "tokenizer.json")
    bundle = tiny_vlm.write_bundle(tmp_path / "it.mmedge", tiny_vlm.vision_language(), texts)
    with pytest.raises(BuildError, match="vision_encoder") as caught:
        build_bundle(bundle, target=TARGET)
    assert f"compiled for cpu: mmedge compile MODEL --target {TARGET}" in str(caught.value)
    assert not list(bundle.glob("engines/vision_encoder*.engine"))


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        build_bundle(tmp_path / "nothing", target=TARGET)
    assert not list(tmp_path.iterdir())


def test_shapes_must_be_the_bundles(tiny_bundle: Path) -> None:
    with pytest.raises(ProjectError, match="no axis 'bach'"):
        build_bundle(tiny_bundle, target=TARGET, options=BuildOptions({"bach": "1"}))


def _files(directory: Path) -> list[str]:
    return [str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()]
