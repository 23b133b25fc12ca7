"""Engines with the attention plugin in them, for GPUs that are not here."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import onnx
import onnx_ir as ir
import pytest
from tiny_vlm import write_bundle

from mmedge.backends.base import native_backend
from mmedge.backends.tensorrt import plugins, soname
from mmedge.backends.tensorrt.attention_plan import largest
from mmedge.backends.tensorrt.backend import TensorRTBackend
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.child import Order, build_in_child
from mmedge.backends.tensorrt.plugins import bundled, plugin_options, plugin_stamps
from mmedge.building import build_bundle
from mmedge.engine_plan import BuildOptions, EnginePlan, Range
from mmedge.errors import BuildError, MissingDependencyError
from mmedge.kernels.build import build_kernels
from mmedge.kernels.kernel_table import Instance
from mmedge.kernels.plugin import build_plugin, find_headers
from mmedge.kernels.toolchain import find_toolchain
from mmedge.ops.fused_attention import PLUGIN, FusedAttention
from mmedge.ops.fused_attention_body import function, overload
from mmedge.runtime.manifest import MANIFEST, check_files, read_manifest, sealed
from mmedge.storage import sha256_file
from mmedge.targets import load_target
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Wiring

pytest.importorskip("tensorrt_rtx")
ATTENTION = FusedAttention(4, 2, 0.125, causal=2, has_bias=1, len_mode=1)
INPUTS = (
    TensorSpec("q", "float16", (2, "queries", 256)),
    TensorSpec("k", "float16", (2, 77, 128)),
    TensorSpec("bias", "float16", (1, 4, "queries", 77)),
    TensorSpec("lengths", "int32", (2,)),
)
QUERIES = {"queries": Range(1, 9, 16)}
# The names of the op's attributes are in an engine only where the plugin is.
IN_PLUGIN = b"kv_num_heads"


def save_model(path: Path, *, attention: FusedAttention = ATTENTION) -> Path:
    attributes = " , ".join(
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in attention.attributes.items()
    )
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20, "mmedge" : 1]>
        attention (float16[2, queries, 256] q, float16[2, 77, 128] k,
                   float16[1, 4, queries, 77] bias, int32[2] lengths)
            => (float16[2, queries, 256] y)
        {{
            twice = Add(q, q)
            o = mmedge.FusedAttention <{attributes}> (twice, k, k, bias, lengths)
            y = Mul(o, o)
        }}"""
    )
    model.graph.node[1].overload = overload(attention)
    model.functions.append(ir.serde.serialize_function(function(attention, opset=20)))
    onnx.save(model, path)
    return path


def an_order(directory: Path, capability: str = "8.6", library: Path | None = None) -> Order:
    return Order(
        library="tensorrt_rtx",
        graph=str(save_model(directory / "attention.onnx")),
        inputs=INPUTS,
        profiles=(QUERIES,),
        settings=Settings(capability),
        label="attention",
        output=str(directory / "attention.engine"),
        plugins=(PLUGIN,),
        plugin_library=None if library is None else str(library),
        plugin_capability=capability,
    )


def build(order: Order) -> bytes:
    build_in_child(order, lambda _line: None)
    return Path(order.output).read_bytes()


@pytest.mark.parametrize("capability", ["8.6", "8.9", "12.0"])
def test_the_engine_has_the_plugin(capability: str, tmp_path: Path) -> None:
    engine = build(an_order(tmp_path, capability))
    assert engine[:4] == b"vtrt"
    assert IN_PLUGIN in engine


def test_without_the_plan_s_word_the_function_is_inlined(tmp_path: Path) -> None:
    engine = build(msgspec.structs.replace(an_order(tmp_path), plugins=()))
    assert IN_PLUGIN not in engine


def test_a_plugin_that_takes_no_node_is_an_error(tmp_path: Path) -> None:
    order = an_order(tmp_path)
    model = onnx.load(order.graph)
    for attribute in list(model.graph.node[1].attribute):
        if attribute.name.startswith("plugin_"):
            model.graph.node[1].attribute.remove(attribute)
    onnx.save(model, order.graph)
    with pytest.raises(BuildError, match="took none of the nodes"):
        build(order)


def test_attributes_that_the_op_does_not_have(tmp_path: Path) -> None:
    order = an_order(tmp_path)
    save_model(Path(order.graph), attention=msgspec.structs.replace(ATTENTION, kv_num_heads=3))
    with pytest.raises(BuildError, match="does not take the graph of 'attention'"):
        build(order)


def test_a_plugin_that_nobody_knows(tmp_path: Path) -> None:
    order = msgspec.structs.replace(an_order(tmp_path), plugins=("mmedge::FusedAttention:2",))
    with pytest.raises(BuildError, match="no plugin 'mmedge::FusedAttention:2'"):
        build(order)


def test_a_library_that_is_no_plugin(tmp_path: Path) -> None:
    library = tmp_path / "libmmedge_attention.so"
    library.write_bytes(b"not a library")
    with pytest.raises(BuildError, match="does not bring plugin FusedAttention"):
        build(an_order(tmp_path, library=library))


COMPONENT = ComponentSpec(
    "attention",
    "text",
    INPUTS,
    (TensorSpec("y", "float16", (2, "queries", 256)),),
    {spec.name: spec.name for spec in INPUTS},
)
PLAN = EnginePlan(
    "tensorrt", "tensorrt_rtx", "fp16", (QUERIES,), compute_capability="8.6", plugins=(PLUGIN,)
)


@pytest.fixture
def backend() -> TensorRTBackend:
    found = native_backend(load_target("rtx-4060"))
    assert isinstance(found, TensorRTBackend)
    return found


@pytest.fixture
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMEDGE_PLUGINS", str(tmp_path / "none"))
    monkeypatch.setenv("TENSORRT_INCLUDE", str(tmp_path / "none"))


@pytest.mark.usefixtures("nothing_at_hand")
def test_where_it_cannot_be_built_the_command_is_told(
    backend: TensorRTBackend, tmp_path: Path
) -> None:
    lines: list[str] = []
    graph = save_model(tmp_path / "attention.onnx")
    engines = tmp_path / "engines"
    engines.mkdir()
    built = backend.build(COMPONENT, graph, plan=PLAN, directory=engines, progress=lines.append)
    assert IN_PLUGIN in Path(built.path).read_bytes()
    assert built.built_with["plugin:FusedAttention"] == "1"
    assert built.built_with == backend.stamps(PLAN, bundle=tmp_path)
    assert built.options["plugins"] == "FusedAttention:1"
    assert built.plugin_files == {}
    told = [line for line in lines if "mmedge kernels build --plugin" in line]
    assert len(told) == 1
    assert "--compute-capability 8.6" in told[0]


@pytest.mark.usefixtures("nothing_at_hand")
def test_a_builder_that_runs_the_plugin_does_not_begin_without_it() -> None:
    plan = msgspec.structs.replace(PLAN, library="tensorrt", compute_capability="8.7")
    with pytest.raises(MissingDependencyError, match="TensorRT's headers"):
        plugins.provide_library(plan, bundle=None, progress=print)


@pytest.mark.usefixtures("nothing_at_hand")
def test_the_bundle_s_own_library_is_the_one_that_is_stamped(tmp_path: Path) -> None:
    from mmedge.kernels.build import place_of

    library = tmp_path / "plugins" / place_of("13", "8.6") / "libmmedge_attention.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"whatever it is")
    found = plugins.provide_library(PLAN, bundle=tmp_path, progress=print)
    assert found == library
    stamps = plugin_stamps(PLAN, found)
    assert stamps == {"plugin:FusedAttention": sha256_file(library)}
    assert plugin_options(stamps) == {"plugins": f"FusedAttention:{sha256_file(library)}"}
    assert bundled(library) == library.relative_to(tmp_path).as_posix()
    other = msgspec.structs.replace(PLAN, compute_capability="8.9")
    assert plugins.plugin_library(other, bundle=tmp_path) is None


def test_a_plan_without_plugins_has_neither_stamps_nor_options() -> None:
    plan = msgspec.structs.replace(PLAN, plugins=())
    assert plugins.provide_library(plan, bundle=None, progress=print) is None
    assert plugin_options(plugin_stamps(plan, None)) == {}


def test_shapes_that_are_not_the_op_s() -> None:
    with pytest.raises(BuildError, match="not those of mmedge::FusedAttention"):
        largest(ATTENTION, [(2, 9), (2, 9), (2, 9)])


def test_the_parser_finds_the_library_under_its_other_name(tmp_path: Path) -> None:
    environment = soname.searching(tmp_path, {"LD_LIBRARY_PATH": "/there", "A": "b"})
    if environment == {"LD_LIBRARY_PATH": "/there", "A": "b"}:
        pytest.skip("this installation has the name itself")
    first, rest = environment["LD_LIBRARY_PATH"].split(os.pathsep)
    assert (rest, environment["A"]) == ("/there", "b")
    link = Path(first) / "libtensorrt_rtx.so"
    assert link.is_symlink()
    assert link.resolve().name == "libtensorrt_rtx.so.1"
    assert soname.searching(tmp_path, {})["LD_LIBRARY_PATH"] == first


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ plugin, where TensorRT's headers and nvcc are."""
    try:
        headers = find_headers()
        find_toolchain()
    except MissingDependencyError as error:
        pytest.skip(error.what)
    directory = tmp_path_factory.mktemp("plugin")
    wanted = [Instance("Fp16", 64, forward=((128, 64), (64, 64)), decode=((16, 64), (64, 64)))]
    built = build_kernels("attention", "8.6", wanted=wanted, cache=directory)
    return build_plugin(built, directory / "plugins", headers=headers)


ALONE = FusedAttention(4, 4, 0.125)


def alone(directory: Path, library: Path | None = None) -> Order:
    """An order of a graph with one input, which is query, key and value."""
    directory.mkdir()
    order = an_order(directory, library=library)
    model = onnx.load(order.graph)
    del model.graph.input[1:], model.graph.node[0], model.graph.node[1].attribute[:]
    node = model.graph.node[0]
    del node.input[:], node.attribute[:], model.functions[:]
    node.input.extend("qqq")
    node.overload = overload(ALONE)
    node.attribute.extend(onnx.helper.make_attribute(*item) for item in ALONE.attributes.items())
    model.functions.append(ir.serde.serialize_function(function(ALONE, opset=20)))
    onnx.save(model, order.graph)
    return msgspec.structs.replace(order, inputs=INPUTS[:1])


def test_the_c_plugin_and_its_twin_make_the_same_engine(library: Path, tmp_path: Path) -> None:
    twin = build(alone(tmp_path / "twin"))
    assert IN_PLUGIN in twin
    assert build(alone(tmp_path / "library", library)) == twin


def test_with_many_inputs_too_but_for_how_they_are_numbered(library: Path, tmp_path: Path) -> None:
    """TensorRT for RTX 1.7 numbers tensors by their addresses: two builds by one plugin differ."""
    (tmp_path / "twin").mkdir()
    twin = build(an_order(tmp_path / "twin"))
    assert sorted(build(an_order(tmp_path, library=library))) == sorted(twin)


TARGET = "rtx-3060-12g"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """With a graph that has the op, and a plan that says so."""
    wiring = Wiring(
        inputs=tuple(ModelInput(spec, "tensor") for spec in INPUTS),
        components=(COMPONENT,),
        outputs={"y": "attention.y"},
        axes={"queries": Axis(1, 9, 16)},
    )
    directory = tmp_path / "attention.mmedge"
    text = "a (float16[2] x) => (float16[2] y) { y = Neg(x) }"
    write_bundle(directory, wiring, {"attention": text}, plans={TARGET: {"attention": PLAN}})
    graph = save_model(directory / "engines" / "attention.onnx")
    manifest = read_manifest(directory)
    files = {**manifest.files, "engines/attention.onnx": sha256_file(graph)}
    changed = sealed(msgspec.structs.replace(manifest, files=files))
    (directory / MANIFEST).write_bytes(msgspec.json.encode(changed))
    return directory


@pytest.mark.usefixtures("nothing_at_hand")
def test_a_bundle_without_the_library_says_so_in_its_engine_s_stamps(bundle: Path) -> None:
    lines: list[str] = []
    build_bundle(bundle, target=TARGET, progress=lines.append)
    assert any("mmedge kernels build --plugin" in line for line in lines)
    engine, _portable = read_manifest(bundle).engines["attention"]
    assert engine.built_with["plugin:FusedAttention"] == "1"
    assert not (bundle / "plugins").exists()
    assert build_bundle(bundle, target=TARGET)["engines"][0]["was_there"]


@pytest.mark.usefixtures("nothing_at_hand")
def test_another_target_s_engine_has_the_plugin_too(bundle: Path) -> None:
    build_bundle(bundle, target="rtx-4060", options=BuildOptions(optimization_level=1))
    engine, _portable = read_manifest(bundle).engines["attention"]
    assert IN_PLUGIN in (bundle / engine.file).read_bytes()


def test_the_library_travels_in_the_bundle(
    bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMEDGE_PLUGINS", str(library.parent.parent))
    build_bundle(bundle, target=TARGET)
    manifest = read_manifest(bundle)
    engine, _portable = manifest.engines["attention"]
    assert manifest.files[bundled(library)] == sha256_file(library)
    assert engine.built_with["plugin:FusedAttention"] == sha256_file(library)
    check_files(bundle, manifest)
    monkeypatch.setenv("MMEDGE_PLUGINS", "/nowhere")
    assert build_bundle(bundle, target=TARGET)["engines"][0]["was_there"]
