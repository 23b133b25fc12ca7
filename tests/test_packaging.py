"""The wheel and the source archive hold what an installed mmedge needs, and work from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    return directory


def wheel(dist: Path) -> Path:
    return next(dist.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_targets_recipes_and_types(dist: Path) -> None:
    names = set(zipfile.ZipFile(wheel(dist)).namelist())
    wanted = {
        "mmedge/_data/profiles/targets/cpu.toml",
        "mmedge/py.typed",
        "mmedge_export/submodules.py",
        "mmedge/pipeline.py",
    }
    assert wanted <= names
    assert any(name.endswith(".j2") for name in names), "the report's template is missing"
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(source)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    rebuilt = next((source / "dist").glob("*.whl"))
    ours, theirs = (set(zipfile.ZipFile(path).namelist()) for path in (wheel(dist), rebuilt))
    assert ours == theirs


@pytest.mark.slow
def test_the_installed_wheel_works_without_the_checkout(dist: Path, tmp_path: Path) -> None:
    """Installed to a directory of its own, with this environment's libraries."""
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(wheel(dist))], check=True, capture_output=True, timeout=300)
    code = (
        "import mmedge, mmedge_export, pathlib;"
        "from mmedge.targets import list_targets;"
        "from mmedge.recipes import available_recipes;"
        f"assert pathlib.Path(mmedge.__file__).is_relative_to({str(target)!r});"
        f"assert pathlib.Path(mmedge_export.__file__).is_relative_to({str(target)!r});"
        "assert 'cpu' in [t.name for t in list_targets()];"
        "assert 'submodules' in available_recipes()"
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.slow
def test_the_base_install_opens_the_command_line_with_nothing_else(
    dist: Path, tmp_path: Path
) -> None:
    """A fresh virtual environment with the base dependencies only: no torch, no ONNX Runtime."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, str(wheel(dist))], check=True, timeout=300)
    mmedge = python.with_name("mmedge")
    for arguments in (["--help"], ["doctor"], ["targets"], ["cache"]):
        subprocess.run([str(mmedge), *arguments], cwd=tmp_path, check=True, capture_output=True)
    refused = subprocess.run(
        [str(mmedge), "compile", str(ROOT / "examples" / "vqa"), "-o", str(tmp_path / "out")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 9, refused.stderr
    assert "pip install 'mmedge[compile]'" in refused.stderr
    assert "Traceback" not in refused.stderr
