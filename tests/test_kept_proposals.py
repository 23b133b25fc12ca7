"""A proposal is made once for the same files; what is kept needs neither torch nor transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmedge import kept_proposals
from mmedge.cache import StageCache
from mmedge.errors import DataError, ProjectError
from mmedge.kept_proposals import PROPOSAL, proposed_project
from mmedge.pipeline import STAGES, compile_project
from mmedge.proposing import propose

Checkpoint = Callable[[str], Path]

AGAIN = """
import json, sys
from pathlib import Path
from mmedge.kept_proposals import proposed_project

project = proposed_project(Path(sys.argv[1]), cache=Path(sys.argv[2]), use_cache=True)
print(json.dumps({"digest": project.digest(), "modules": sorted(sys.modules)}))
"""

COMPILE = """
import json, sys
from pathlib import Path
from mmedge.pipeline import compile_project

compiled = compile_project(
    sys.argv[1], output=sys.argv[2], cache=Path(sys.argv[3]), threads=1, measure_seconds=0
)
print(json.dumps({"stages": compiled.report["stages"], "modules": sorted(sys.modules)}))
"""


@pytest.fixture
def clip(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("clip"), tmp_path / "clip"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories that were looked at, which is still done."""
    found: list[Path] = []

    def counted(directory: Path, **options: Any) -> Any:
        found.append(directory)
        return propose(directory, **options)

    monkeypatch.setattr(kept_proposals, "propose", counted)
    return found


def test_the_second_time_is_the_first_without_torch(
    clip: Path, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    first = proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    assert first.file == propose(clip).project.file
    done = run_python(AGAIN, clip, tmp_path / "cache", without=["torch", "transformers"])
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout)["digest"] == first.digest()


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """A checkpoint directory that is compiled in a moment."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_a_compile_from_the_cache_imports_no_torch(
    smallest: Path, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    directory, cache = smallest, tmp_path / "cache"
    compile_project(
        directory, output=tmp_path / "one.mmedge", cache=cache, threads=1, measure_seconds=0
    )
    done = run_python(COMPILE, directory, tmp_path / "two.mmedge", cache)
    assert not done.returncode, done.stderr
    facts = json.loads(done.stdout)
    names = [(stage.name, True) for stage in STAGES]
    assert [(stage["stage"], stage["cached"]) for stage in facts["stages"]] == names
    heavy = {"torch", "onnxscript", "transformers", "onnxruntime", "PIL"}
    assert not heavy & set(facts["modules"])


def test_every_file_decides(clip: Path, tmp_path: Path, asked: list[Path]) -> None:
    cache = tmp_path / "cache"
    for name in ("config.json", "processor_config.json", "tokenizer.json"):
        before = len(asked)
        for _ in range(2):
            proposed_project(clip, cache=cache, use_cache=True)
        (clip / name).write_text((clip / name).read_text() + "\n")
        proposed_project(clip, cache=cache, use_cache=True)
        assert len(asked) - before == (2 if before == 0 else 1), name


def test_samples_decide(clip: Path, tmp_path: Path, asked: list[Path]) -> None:
    sample = tmp_path / "own.png"
    for size in ((40, 40), (50, 40)):
        Image.new("RGB", size).save(sample)
        for _ in range(2):
            project = proposed_project(
                clip, cache=tmp_path / "cache", use_cache=True, samples=(str(sample),)
            )
    assert project.file.data.samples == (str(sample),)
    proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    assert len(asked) == 3


def test_it_can_be_asked_anew(clip: Path, tmp_path: Path, asked: list[Path]) -> None:
    for use_cache in (True, False, True):
        proposed_project(clip, cache=tmp_path / "cache", use_cache=use_cache)
    assert len(asked) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"directory": 3}'])
def test_a_spoilt_entry_is_made_again(
    clip: Path, tmp_path: Path, asked: list[Path], content: bytes
) -> None:
    wanted = proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    (place,) = (tmp_path / "cache").glob(f"*/{PROPOSAL}")
    place.write_bytes(content)
    for _ in range(2):
        found = proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
        assert found.file == wanted.file
    assert len(asked) == 2


def test_a_cache_that_takes_nothing(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    found = proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    assert found.file == propose(clip).project.file


def test_a_refusal_is_not_kept(clip: Path, tmp_path: Path, asked: list[Path]) -> None:
    (clip / "tokenizer.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(ProjectError, match="no recipe takes"):
            proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    assert len(asked) == 2
    assert not list(tmp_path.glob("cache/*"))


def test_a_sample_that_is_not_there(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        proposed_project(
            clip, cache=tmp_path / "cache", use_cache=True, samples=(str(tmp_path / "no.png"),)
        )


def test_clearing_the_cache_removes_it(clip: Path, tmp_path: Path) -> None:
    proposed_project(clip, cache=tmp_path / "cache", use_cache=True)
    store = StageCache(tmp_path / "cache")
    assert store.entries() == [], "it is no stage"
    removed, freed = store.clear()
    assert removed == 1
    assert freed > 0
    assert not list(tmp_path.glob("cache/*"))


def test_what_a_user_must_know_is_kept_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    owl = checkpoint("owlv2")
    found = [proposed_project(owl, cache=tmp_path, use_cache=True).remarks for _ in range(2)]
    assert found[0] == found[1]
    assert "takes tensors, no images, texts or sounds: the processor Owlv2Processor" in found[0][0]


def test_a_chat_template_that_is_broken_is_told(clip: Path, checkpoint: Checkpoint) -> None:
    directory = clip.parent / "smolvlm"
    shutil.copytree(checkpoint("smolvlm"), directory)
    (directory / "chat_template.jinja").write_text("{% if x %}")
    project = proposed_project(directory, cache=clip.parent / "cache", use_cache=True)
    assert any("chat template" in remark for remark in project.remarks)
