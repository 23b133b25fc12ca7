"""What the plugin's twin answers in Python is what the library answers."""

from __future__ import annotations

from collections.abc import Callable

from emulator import Emulator, shipped_instance
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.backends.tensorrt import attention_plan
from mmedge.backends.tensorrt.attention_plan import Largest
from mmedge.kernels.attention_library import Arguments
from mmedge.kernels.kernel_table import instances, read_kernel_table

Library = Callable[[str, int], Emulator]
TABLE = read_kernel_table("attention")
# The emulation has the tile shapes of no GPU in particular, and of this one there are no others.
CAPABILITY = "8.6"


def arguments(call: Largest, some_lengths: int) -> Arguments:
    made = Arguments(
        batch=call.batch,
        num_heads=call.num_heads,
        kv_num_heads=1,
        max_query_length=call.queries,
        max_key_length=call.keys,
        head_size=call.head_size,
        scale=1.0,
        tactic=-1,
    )
    if call.packed:
        made.cumulative_query_lengths = made.cumulative_key_lengths = some_lengths
    return made


def test_tactics_and_workspace_are_those_of_the_library(library: Library) -> None:
    emulated = library("Fp16", 64)
    shipped = shipped_instance("Fp16", 64)
    of_table = [i for i in instances(TABLE, CAPABILITY) if i.padded_head_size == 64]
    assert all((i.forward, i.decode) == (shipped.forward, shipped.decode) for i in of_table)

    @settings(max_examples=300)
    @given(
        st.builds(
            Largest,
            batch=st.integers(1, 3000),
            num_heads=st.integers(1, 64),
            queries=st.one_of(st.integers(1, 40), st.integers(1, 4096)),
            keys=st.one_of(st.integers(0, 300), st.integers(0, 200_000)),
            head_size=st.sampled_from([56, 64]),
            packed=st.booleans(),
        )
    )
    def compare(call: Largest) -> None:
        made = arguments(call, some_lengths=8)
        expected = list(range(1, emulated.tactics(made) + 2))
        assert attention_plan.tactics(call, TABLE, CAPABILITY) == expected
        found = attention_plan.workspace_bytes(call, TABLE, CAPABILITY)
        assert found == emulated.workspace_bytes(made)

    compare()
