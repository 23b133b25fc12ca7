from pathlib import Path

import msgspec
import pytest

from mmedge.backends import base
from mmedge.errors import ProjectError
from mmedge.resources import data_dir
from mmedge.target_files import target_files
from mmedge.targets import (
    BACKENDS,
    Target,
    broken_targets,
    list_targets,
    load_target,
    target_file,
)

MINIMAL = """
name = "{name}"
title = "A board"
backend = "onnxruntime"
opset = 20
precisions = ["fp32"]
"""


@pytest.fixture(autouse=True)
def user_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    directory = tmp_path / "config" / "mmedge" / "targets"
    directory.mkdir(parents=True)
    return directory


def write(directory: Path, name: str, extra: str = "") -> Path:
    path = directory / f"{name}.toml"
    path.write_text(MINIMAL.format(name=name) + extra)
    return path


def memory(value: str) -> str:
    return f'[facts.memory_bytes]\nvalue = {value}\nsource = "datasheet"'


def test_cpu_is_onnxruntime_at_opset_23():
    target = load_target("cpu")
    assert (target.backend, target.opset) == ("onnxruntime", 23)
    assert target.providers == ("CPUExecutionProvider",)


def test_a_second_target_differs_only_in_data():
    cpu, older = load_target("cpu"), load_target("cpu-opset18")
    fields = [f for f in Target.__struct_fields__ if getattr(cpu, f) != getattr(older, f)]
    assert older.opset == 18
    assert set(fields) == {"name", "title", "description", "opset"}


def test_every_shipped_target_loads_and_is_listed():
    shipped = sorted(path.stem for path in data_dir("profiles/targets").glob("*.toml"))
    assert [target.name for target in list_targets()] == shipped
    assert {"cpu", "cpu-opset18"} <= set(shipped)


def test_the_users_directory_adds_and_overrides(user_directory: Path):
    write(user_directory, "my-board")
    write(user_directory, "cpu")
    assert load_target("my-board").title == "A board"
    assert load_target("cpu").opset == 20
    assert "my-board" in [target.name for target in list_targets()]


def test_one_wrong_file_hides_no_other_target(user_directory: Path) -> None:
    shipped = [target.name for target in list_targets()]
    write(user_directory, "bad", "opsett = 3")
    assert [target.name for target in list_targets()] == shipped
    broken = broken_targets()
    assert list(broken) == ["bad"]
    assert "did you mean 'opset'" in str(broken["bad"])


def test_which_file_was_taken_is_told(user_directory: Path) -> None:
    assert target_file("cpu").ships
    mine, board = write(user_directory, "cpu"), write(user_directory, "board")
    found = target_file("cpu")
    assert (found.path, found.ships) == (mine, False)
    assert found.replaces == data_dir("profiles/targets") / "cpu.toml"
    assert target_file("board").replaces is None
    assert str(board) in target_files([])["board"].sentence()


def test_the_backends_of_targets_are_those_there_are() -> None:
    assert set(BACKENDS) == {*base.BACKENDS, *base.NATIVE_BACKENDS}


def test_a_search_directory_comes_before_the_users(user_directory: Path, tmp_path: Path):
    write(user_directory, "board", 'description = "user"')
    write(tmp_path, "board", 'description = "search"')
    assert load_target("board", search=[tmp_path]).description == "search"


def test_without_xdg_the_directory_is_under_home(monkeypatch, tmp_path: Path):
    directory = tmp_path / ".config" / "mmedge" / "targets"
    directory.mkdir(parents=True)
    write(directory, "home-board")
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert load_target("home-board").name == "home-board"


def test_a_path_works_in_place_of_a_name(tmp_path: Path):
    assert load_target(str(write(tmp_path, "elsewhere"))).name == "elsewhere"
    with pytest.raises(ProjectError, match="does not exist"):
        load_target(str(tmp_path / "absent.toml"))


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ProjectError, match="did you mean 'cpu-opset18'"):
        load_target("cpu-opset-18")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("opsett = 3", "did you mean 'opset'"),
        ("[threads]\nintraop = 3", "did you mean 'intra_op'"),
        ("[facts.memory_bytes]\nvalue = 3", "'source' is missing"),
        *(
            (memory(v), "memory_bytes. value is no number")
            for v in ('"12GB"', "0", "-1", "inf", "nan")
        ),
        ("[threads]\nintra_op = -1", "impossible number of threads"),
        ("[threads]\ninter_op = 0", "impossible number of threads"),
    ],
)
def test_a_wrong_key_or_value_is_refused(user_directory: Path, extra: str, message: str):
    write(user_directory, "board", extra)
    with pytest.raises(ProjectError, match=message):
        load_target("board")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "board"', 'name = "other"', "name is its file's name"),
        ("opset = 20", "opset = 3", "opset outside the range"),
        ("opset = 20", "opset = 17", "opset outside the range"),
        ('"onnxruntime"', '"tensort"', "did you mean 'tensorrt'"),
        ('["fp32"]', '["fp23"]', "did you mean 'fp32'"),
        ("opset = 20", 'opset = "20"', "wrong type"),
        ("opset = 20", "", "'opset' is missing from the top level"),
        ("opset = 20", "opset = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(user_directory: Path, old: str, new: str, message: str):
    path = write(user_directory, "board")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ProjectError, match=message):
        load_target("board")


def test_facts_carry_their_source(user_directory: Path):
    write(user_directory, "board", '[facts.memory_bytes]\nvalue = 8\nsource = "datasheet"')
    fact = load_target("board").facts["memory_bytes"]
    assert (fact.value, fact.source, fact.confidence) == (8, "datasheet", 1.0)


def test_memory_that_is_no_number_is_told_with_what_to_write(user_directory: Path):
    path = write(user_directory, "board", memory('"12GB"'))
    with pytest.raises(ProjectError, match="memory_bytes") as caught:
        load_target("board")
    details = caught.value.details
    assert (details["found"], details["where"]) == ("'12GB'", path)
    assert "without a unit" in str(caught.value)


def test_a_target_survives_json():
    target = load_target("cpu")
    assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target


@pytest.mark.parametrize(
    ("key", "value"), [("compute_capability", "eight"), ("version", "10"), ("version", "")]
)
def test_versions_of_a_target_are_versions(tmp_path: Path, key: str, value: str) -> None:
    text = (data_dir("profiles/targets") / "rtx-3060-12g.toml").read_text()
    known = {"compute_capability": '"8.6"', "version": '"1.7"'}[key]
    path = tmp_path / "rtx-3060-12g.toml"
    path.write_text(text.replace(f"{key} = {known}", f'{key} = "{value}"'))
    with pytest.raises(ProjectError, match=rf"\[tensorrt\] {key} is no version") as caught:
        load_target(str(path))
    assert "numbers with dots" in str(caught.value)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_a_table_of_tensorrt_goes_with_its_backend(tmp_path: Path, backend: str) -> None:
    name = "rtx-3060-12g" if backend == "onnxruntime" else "cpu"
    text = (data_dir("profiles/targets") / f"{name}.toml").read_text()
    other = "tensorrt" if backend == "onnxruntime" else "onnxruntime"
    path = tmp_path / f"{name}.toml"
    path.write_text(text.replace(f'backend = "{other}"', f'backend = "{backend}"'))
    with pytest.raises(ProjectError, match="has a table"):
        load_target(str(path))
