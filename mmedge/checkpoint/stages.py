"""Stage `load`: the checkpoint becomes the user's model, or is refused."""

from __future__ import annotations

from pathlib import Path

from mmedge.artifact import Artifact
from mmedge.errors import CheckpointError
from mmedge.project import Project
from mmedge.stage import Workspace


class Load:
    """Read the checkpoint and record what was read; the model itself stays in the workspace."""

    name = "load"
    requires: tuple[str, ...] = ()
    config_keys: tuple[str, ...] = ("trust_pickle",)
    target_keys: tuple[str, ...] | None = ()

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with the record of how the checkpoint was loaded."""
        workspace.progress(f"loading {_named(workspace.project)}")
        return artifact.with_record(self.name, workspace.load_record)

    def ensures(self, artifact: Artifact) -> None:
        """There is something to compile."""
        if not artifact.records[self.name]["parameters"]:
            raise CheckpointError("the model has no parameters", hint="check [model] weights")


def _named(project: Project) -> str:
    """The checkpoint as the project names it; of a directory, which may be ".", where it is."""
    weights = project.file.model.weights
    place = project.directory / weights
    return str(place.resolve()) if place.is_dir() else weights
