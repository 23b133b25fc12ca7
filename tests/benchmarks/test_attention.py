"""The benchmark of the attention kernels: what it compares with, and what it makes of times."""

import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import attention_cases
import attention_floor
import attention_goals
import attention_peers
import interleaved
from attention_cases import Case

CPU = torch.device("cpu")
CASES = {
    "plain": Case("plain", "", "g", batch=2, heads=4, query_length=9, head_size=8),
    "causal": Case(
        "c", "", "g", batch=2, heads=4, query_length=5, key_length=9, head_size=8, causal=2
    ),
    "upper": Case("u", "", "g", batch=2, heads=4, query_length=9, head_size=8, causal=1),
    "grouped": Case("g", "", "g", batch=1, heads=4, kv_heads=2, query_length=7, head_size=16),
    "masked": Case("m", "", "g", batch=3, heads=2, query_length=8, head_size=8, lengths=0.3),
    "bias": Case("b", "", "g", batch=2, heads=3, query_length=6, head_size=8, bias=True),
    "both": Case(
        "o", "", "g", batch=2, heads=2, query_length=6, head_size=8, lengths=0.6, causal=2
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_exact_answer_is_that_of_pytorchs_own_attention(case):
    inputs = attention_cases.make_inputs(case, torch.float32, CPU, seed=1)
    right = attention_cases.exact(case, inputs)
    q, k, v = (t.transpose(1, 2).double() for t in (inputs.query, inputs.key, inputs.value))
    mask = attention_cases.additive_mask(case, inputs)
    found = F.scaled_dot_product_attention(
        q, k, v, None if mask is None else mask.double(), enable_gqa=case.kv_heads is not None
    ).nan_to_num(0.0)
    torch.testing.assert_close(found.transpose(1, 2), right)


def test_only_what_a_query_sees_counts_as_work():
    whole = CASES["upper"]
    causal = attention_cases.operations(whole, None)
    assert causal == 4 * 4 * 8 * 2 * (9 * 10 / 2)
    assert attention_cases.exponentials(whole, None) == 2 * 4 * 45
    lengths = torch.tensor([3, 8, 1], dtype=torch.int32)
    masked = CASES["masked"]
    assert attention_cases.operations(masked, lengths) == 4 * 2 * 8 * 8 * 12
    assert attention_cases.moved_bytes(masked, lengths) == 2 * (2 * 3 * 8 * 16 + 2 * 12 * 16)


def test_the_floor_is_what_takes_longest():
    case = CASES["plain"]
    peaks = attention_floor.Peaks(1e12, 1e9, None)
    least = attention_floor.floor(case, None, peaks)
    assert least.bound == "bytes"
    assert least.ms == pytest.approx(1e3 * attention_cases.moved_bytes(case, None) / 1e9)
    slow = attention_floor.Peaks(1e12, 1e9, exponentials_per_s=1e3)
    assert attention_floor.floor(case, None, slow).bound == "exponentials"


def test_goals_are_judged_by_the_fastest_peer_that_ran():
    goals = (
        attention_goals.Goal("g", 1.1, against=("a", "b")),
        attention_goals.Goal("g", 1.0, against=("absent",)),
        attention_goals.Goal("g", 0.5, of="bytes"),
        attention_goals.Goal("other", 9.0, against=("a",)),
    )
    least = attention_floor.Floor(arithmetic_ms=0.1, bytes_ms=0.4, exponentials_ms=None)
    rows = attention_goals.judged("g", goals, {"mmedge": 1.0, "a": 1.2, "b": 1.05}, least)
    assert [(r["found"], r["met"]) for r in rows] == [(1.05, False), (0.4, False)]


def test_every_case_of_the_file_has_a_goal_or_is_causal():
    groups = {g.cases for g in attention_goals.read_goals(attention_cases.CASES)}
    cases = attention_cases.read_cases()
    assert len({c.name for c in cases}) == len(cases)
    assert {c.goal for c in cases} - groups == {"causal"}


def test_a_backend_that_cannot_run_a_case_says_why():
    inputs = attention_cases.make_inputs(CASES["plain"], torch.float16, CPU, seed=0)
    prepare = attention_peers.contenders(None)["sdpa-cudnn"]
    with pytest.raises(attention_peers.UnsupportedError, match=r"\w+"):
        prepare(CASES["plain"], inputs)


def test_rounds_interleave_all_contenders():
    calls = []
    timed = {n: lambda n=n: calls.append(n) or math.inf for n in "abc"}
    samples = interleaved.rounds(timed, count=4)
    assert {n: len(s) for n, s in samples.items()} == dict.fromkeys("abc", 4)
    assert all(sorted(calls[i : i + 3]) == list("abc") for i in range(0, 15, 3))
    assert len({tuple(calls[i : i + 3]) for i in range(0, 15, 3)}) > 1
