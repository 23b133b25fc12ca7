"""What every component is fed on real samples, as the bundle will feed it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from mmedge.artifact import Artifact
from mmedge.engines import LEAN, OpenArtifact
from mmedge.runtime.next_token import GenerateOptions
from mmedge.runtime.runner import Runner, open_engine
from mmedge.stage import Samples
from mmedge.tensors import Array
from mmedge.wiring import with_indicators

Feeds = dict[str, Array]
# The range of activations is much the same from sample to sample; the margin covers the rest.
MOST_BATCHES = 8
MOST_BYTES = 512 << 20  # of recorded inputs; a batch that is begun is finished
BATCH = 2
# The prompt, and the tokens after it, which see a past.
TOKENS = 3


def real_feeds(
    artifact: Artifact,
    samples: Samples,
    *,
    threads: int | None,
    batches: int = MOST_BATCHES,
) -> dict[str, list[Feeds]]:
    """Component -> its inputs in every call, from running the graphs in float32.

    batches: the most that are run; fewer where their inputs take MOST_BYTES.
    """
    kind = "onnxruntime"

    def open_runner(name: str) -> Runner:
        path = Path(artifact.graphs[name])
        return open_engine(kind, path, threads=threads, options=LEAN[kind])

    recorded = _Recording(artifact, open_runner)
    try:
        for batch in islice(_batches(artifact, samples), batches):
            recorded.run(batch, options=GenerateOptions(up_to=TOKENS))
            if recorded.bytes > MOST_BYTES:
                break
    finally:
        recorded.close()
    return dict(recorded.feeds)


class _Recording(OpenArtifact):
    """Keeps what the components are fed."""

    def __init__(self, artifact: Artifact, open_runner: Callable[[str], Runner]) -> None:
        super().__init__(artifact, open_runner)
        self.feeds: defaultdict[str, list[Feeds]] = defaultdict(list)
        self.bytes = 0

    def run_component(self, name: str, feeds: Feeds) -> Feeds:
        """One component's outputs."""
        self.feeds[name].append(dict(feeds))
        self.bytes += sum(array.nbytes for array in feeds.values())
        return super().run_component(name, feeds)


def _batches(artifact: Artifact, samples: Samples) -> Iterator[Feeds]:
    """Small batches of every group in turn, of the size that the model takes."""
    wiring = artifact.wired
    leading = wiring.inputs[0].spec.shape[0]
    size = leading if isinstance(leading, int) else max(BATCH, wiring.axes[leading].min)
    size = size if isinstance(leading, int) else min(size, wiring.axes[leading].max)
    starts = range(0, max(samples.sizes), size)
    for start in starts:
        for group, count in enumerate(samples.sizes):
            if start and start + size > count:
                continue
            whole = start + size <= count
            rows = samples.rows(start, start + size, group=group) if whole else None
            yield with_indicators(wiring.inputs, rows or samples.first(size, group=group))
