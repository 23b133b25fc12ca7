from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from mmedge.backends.base import Backend, load_backend
from mmedge.errors import BuildError, ProjectError
from mmedge.targets import Target

if TYPE_CHECKING:
    from tests.backends import conformance
else:
    # Tests are files, not packages: this one is found beside itself.
    place = Path(__file__).with_name("conformance.py")
    spec = importlib.util.spec_from_file_location("backend_conformance", place)
    conformance = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = conformance
    spec.loader.exec_module(conformance)


class TestOnnxRuntime(conformance.Conformance):
    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    def backend(self) -> Backend:
        return load_backend("onnxruntime")

    def target(self) -> Target:
        return msgspec.structs.replace(super().target(), providers=self.providers)

    def test_the_targets_providers_stay_with_the_engine(self, tmp_path: Path) -> None:
        engine = self.build(conformance.SCALE, tmp_path)
        assert engine.file.options == {"providers": "CPUExecutionProvider"}

    @pytest.mark.parametrize(
        ("providers", "hint"),
        [
            (("CUDAExecutionProvider", "CPUExecutionProvider"), "onnxruntime-gpu"),
            (("CPUExecutionProvidr",), "did you mean 'CPUExecutionProvider'"),
        ],
    )
    def test_a_provider_that_is_not_there_is_no_reason_to_use_another(
        self, tmp_path: Path, providers: tuple[str, ...], hint: str
    ) -> None:
        import onnxruntime

        if set(providers) <= set(onnxruntime.get_available_providers()):
            pytest.skip("this machine has the provider")
        self.providers = providers
        with pytest.raises(BuildError, match=f"scale.onnx on {providers[0]}") as caught:
            self.build(conformance.SCALE, tmp_path)
        assert hint in str(caught.value.details["try"])

    def test_engines_that_share_a_process_do_not_spin_on_each_others_cores(
        self, tmp_path: Path
    ) -> None:
        alone = self.build(conformance.SCALE, tmp_path)
        shared = tmp_path / "shared"
        shared.mkdir()
        engine = self.backend().build(
            alone.component,
            Path(alone.file.path),
            target=self.target(),
            directory=shared,
            engines=2,
        )
        assert engine.file.options == {**alone.file.options, "intra_op.allow_spinning": "0"}
        with engine.open(threads=2) as runner:
            found = runner.infer({"x": np.ones((1, 3), "float32")})["y"]
        assert found.tolist() == [[1, 2, 3]]

    def test_threads_are_those_asked_for(self, tmp_path: Path) -> None:
        engine = self.build(conformance.SCALE, tmp_path)
        threads = Path("/proc/self/task")
        before = len(list(threads.iterdir()))
        x = np.ones((1, 3), "float32")
        with engine.open(threads=1) as runner:
            runner.infer({"x": x})
            assert len(list(threads.iterdir())) == before
        with engine.open(threads=4) as runner:
            runner.infer({"x": x})
            assert len(list(threads.iterdir())) == before + 3  # the caller is the fourth
        with pytest.raises(BuildError, match="no number of threads"):
            engine.open(threads=0)


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(ProjectError, match="no backend 'onxruntime'") as caught:
        load_backend("onxruntime")
    assert "onnxruntime" in str(caught.value.details["try"])
