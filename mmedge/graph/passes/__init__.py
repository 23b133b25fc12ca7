"""Graph passes: one file each, one specification each, run and checked by `run_passes`."""

from __future__ import annotations

from mmedge.graph.passes.bare_scatter_nd import BareScatterND
from mmedge.graph.passes.base import GraphPass, Outcome, PassRecord, run_passes
from mmedge.graph.passes.cache_in_attention import CacheInAttention
from mmedge.graph.passes.choice import chosen
from mmedge.graph.passes.dedupe_weights import DedupeWeights
from mmedge.graph.passes.deduplicate_subexpressions import DeduplicateSubexpressions
from mmedge.graph.passes.drop_unused_inputs import DropUnusedInputs
from mmedge.graph.passes.expand_attention_masks import ExpandAttentionMasks
from mmedge.graph.passes.expand_rotary_caches import ExpandRotaryCaches
from mmedge.graph.passes.float_for_double import FloatForDouble
from mmedge.graph.passes.fold_constants import FoldConstants
from mmedge.graph.passes.group_query_attention import GroupQueryAttention
from mmedge.graph.passes.plain_booleans import PlainBooleans
from mmedge.graph.passes.rebind_axis_sources import RebindAxisSources
from mmedge.graph.passes.remove_no_ops import RemoveNoOps
from mmedge.graph.passes.scatter_add_as_sum import ScatterAddAsSum

# What ONNX allows and an engine refuses is put right before anything is run.
LEGALIZING_PASSES: tuple[GraphPass, ...] = (ExpandAttentionMasks(), ExpandRotaryCaches())

# What only some engines refuse; the table of what they take says which of these they need.
TARGET_PASSES: tuple[GraphPass, ...] = (
    FloatForDouble(),
    ScatterAddAsSum(),
    PlainBooleans(),
    BareScatterND(),
)

# Folding comes first: it turns computed shapes into constants, by which RemoveNoOps and
# RebindAxisSources recognise what they look for. Weights are shared after folding, which makes
# new ones, and before subexpressions, which are equal only if they read the same initializer.
# Rebinding adds Shape nodes that are often there already, so it precedes subexpressions too.
# Keys and values are shared before the past moves into Attention: copies hide where they come from.
# Unused inputs go last, when every pass that frees one has run.
DEFAULT_PASSES: tuple[GraphPass, ...] = (
    FoldConstants(),
    RemoveNoOps(),
    GroupQueryAttention(),
    CacheInAttention(),
    DedupeWeights(),
    RebindAxisSources(),
    DeduplicateSubexpressions(),
    DropUnusedInputs(),
)

__all__ = [
    "DEFAULT_PASSES",
    "LEGALIZING_PASSES",
    "TARGET_PASSES",
    "BareScatterND",
    "CacheInAttention",
    "DedupeWeights",
    "DeduplicateSubexpressions",
    "DropUnusedInputs",
    "ExpandAttentionMasks",
    "ExpandRotaryCaches",
    "FloatForDouble",
    "FoldConstants",
    "GraphPass",
    "GroupQueryAttention",
    "Outcome",
    "PassRecord",
    "PlainBooleans",
    "RebindAxisSources",
    "RemoveNoOps",
    "ScatterAddAsSum",
    "chosen",
    "run_passes",
]
