from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.report.layered_layout import Edge, arrange


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[Edge]]:
    nodes = list(range(draw(st.integers(1, 9))))
    pairs = [(a, b) for a in nodes for b in nodes if a < b]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=15)) if pairs else []
    return nodes, edges


@given(graphs())
def test_edges_step_through_every_column_and_no_place_is_taken_twice(
    graph: tuple[list[int], list[Edge]],
) -> None:
    nodes, edges = graph
    sinks = [node for node in nodes if all(source != node for source, _ in edges)]
    layout = arrange(nodes, edges, last=sinks)
    column_of = {node: i for i, column in enumerate(layout.columns) for node in column}
    assert set(nodes) <= set(column_of)
    assert set(layout.paths) == set(edges)
    for (source, target), path in layout.paths.items():
        assert (path[0], path[-1]) == (source, target)
        assert all(column_of[b] == column_of[a] + 1 for a, b in pairwise(path))
    places = [(column_of[node], layout.rows[node]) for node in column_of]
    assert len(set(places)) == len(places)
    assert min(layout.rows.values()) >= 0
    assert {column_of[node] for node in sinks} == {len(layout.columns) - 1}


def test_crossings_that_can_be_avoided_are() -> None:
    layout = arrange(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    straight = [layout.rows[a] == layout.rows[b] for a, b in (("a", "y"), ("b", "x"))]
    assert straight == [True, True]


def test_a_backward_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="backward"):
        arrange(["a", "b"], [("b", "a")])
