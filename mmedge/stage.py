"""What a stage of the pipeline is, and the live things of one compile that stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmedge.artifact import Artifact
from mmedge.config import CompileConfig
from mmedge.project import Project
from mmedge.recipes import Split
from mmedge.targets import Target
from mmedge.tensors import Array

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Samples:
    """Preprocessed examples in groups of one shape, and the targets where there are any.

    groups: each input name -> [examples, ...] in the declared dtype. Only the sizes of named axes
        differ between groups: examples of unequal length are batched with their equals.
    targets: in the order of the groups' examples.
    count: examples in all groups.
    origin: where they come from, for the report; `real` is False for synthetic ones.
    """

    groups: tuple[dict[str, Array], ...]
    targets: list[Any] | None
    count: int
    origin: str
    real: bool

    @property
    def sizes(self) -> list[int]:
        """How many examples each group has."""
        return [len(next(iter(group.values()))) for group in self.groups]

    def rows(self, start: int, stop: int, *, group: int = 0) -> dict[str, Array]:
        """Examples start..stop of a group as one batch."""
        return {name: array[start:stop] for name, array in self.groups[group].items()}

    def first(self, count: int, *, group: int | None = None) -> dict[str, Array]:
        """A batch of `count`, repeating examples where there are fewer.

        group: the largest, if None.
        """
        sizes = self.sizes
        chosen = sizes.index(max(sizes)) if group is None else group
        repeated = [i % sizes[chosen] for i in range(count)]
        return {name: array[repeated] for name, array in self.groups[chosen].items()}


@dataclass
class Workspace:
    """The live things of one compile: made when a stage first asks, so a cached stage costs none.

    load_model: the user's model with its weights, and the record of how it was loaded.
    load_samples: "calibration" or "evaluation" -> Samples.
    make_split: the recipe applied to the model.
    progress: called with one line of what is being done now.
    """

    project: Project
    config: CompileConfig
    target: Target
    load_model: Callable[[], tuple[torch.nn.Module, dict[str, Any]]]
    load_samples: Callable[[str], Samples]
    make_split: Callable[[Workspace], Split]
    progress: Callable[[str], None]

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, dict[str, Any]]:
        return self.load_model()

    @property
    def model(self) -> torch.nn.Module:
        """The user's model, in eval mode, weights loaded."""
        return self._loaded[0]

    @property
    def load_record(self) -> dict[str, Any]:
        """How the checkpoint was read."""
        return self._loaded[1]

    @cached_property
    def calibration(self) -> Samples:
        """Real samples to look at while compiling."""
        return self.load_samples("calibration")

    @cached_property
    def evaluation(self) -> Samples:
        """Held-out samples to judge by."""
        return self.load_samples("evaluation")

    @cached_property
    def split(self) -> Split:
        """The model taken apart by its recipe."""
        return self.make_split(self)

    @property
    def opset(self) -> int:
        """The ONNX operator set to export to."""
        return self.config.opset or self.target.opset


class Stage(Protocol):
    """One step of the pipeline: a plain function of an Artifact, cached by content.

    A record with `"keep": False` says that the result is good for this compile only: it is not
    cached (a measurement that was disturbed).

    requires: names of stages that must have run.
    config_keys: the settings its result depends on; others do not invalidate its cache.
    target_keys: the same of the target's facts; None: all of them.
    """

    name: str
    requires: tuple[str, ...]
    config_keys: tuple[str, ...]
    target_keys: tuple[str, ...] | None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The next artifact; new files go into `directory`, which is kept if this returns."""
        ...

    def ensures(self, artifact: Artifact) -> None:
        """Raise unless the stage did what it declared."""
        ...
