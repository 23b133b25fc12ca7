"""Where the boxes of a directed acyclic graph go: columns from left to right, few crossings.

The method of Sugiyama, Tagawa and Toda (1981): each box gets the column after its last
predecessor, an edge that spans several columns gets a slot in every one it passes, and columns
are ordered by the mean position of their neighbours (barycentres), sweeping back and forth.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
Node = Hashable
Edge = tuple[Node, Node]


@dataclass(frozen=True)
class Layout:
    """columns: nodes by column, from above. paths: edge -> the nodes and slots it passes.

    rows: node or slot -> its vertical position in units of one row, 0 or more.
    """

    columns: tuple[tuple[Node, ...], ...]
    paths: dict[Edge, tuple[Node, ...]]
    rows: dict[Node, float]


def arrange(nodes: Sequence[Node], edges: Iterable[Edge], *, last: Iterable[Node] = ()) -> Layout:
    """Lay out `nodes`, given in an order in which every edge points forward.

    last: nodes that share the final column. Raises ValueError for an edge that points backward.
    """
    edges = list(dict.fromkeys(edges))
    ranks = _ranks(nodes, edges, set(last))
    columns, paths = _with_slots(nodes, edges, ranks)
    neighbours = _neighbours(paths.values())
    for sweep in range(SWEEPS):
        _order(columns, neighbours, forward=sweep % 2 == 0)
    return Layout(tuple(map(tuple, columns)), paths, _rows(columns))


def _ranks(nodes: Sequence[Node], edges: list[Edge], last: set[Node]) -> dict[Node, int]:
    place = {node: index for index, node in enumerate(nodes)}
    ranks = dict.fromkeys(nodes, 0)
    for node in nodes:
        for source, target in edges:
            if target == node:
                if place[source] >= place[target]:
                    raise ValueError(f"the edge {source!r} -> {target!r} points backward")
                ranks[node] = max(ranks[node], ranks[source] + 1)
    final = max([ranks[n] for n in last] + [1 + ranks[n] for n in nodes if n not in last] or [0])
    return ranks | dict.fromkeys(last, final)


def _with_slots(
    nodes: Sequence[Node], edges: list[Edge], ranks: Mapping[Node, int]
) -> tuple[list[list[Node]], dict[Edge, tuple[Node, ...]]]:
    columns: list[list[Node]] = [[] for _ in range(1 + max(ranks.values(), default=-1))]
    for node in nodes:
        columns[ranks[node]].append(node)
    paths = {}
    for source, target in edges:
        # One slot a column serves every edge that leaves the same node: they run as one line.
        slots = [("slot", source, rank) for rank in range(ranks[source] + 1, ranks[target])]
        for slot in slots:
            if slot not in columns[slot[2]]:
                columns[slot[2]].append(slot)
        paths[source, target] = (source, *slots, target)
    return columns, paths


def _neighbours(paths: Iterable[tuple[Node, ...]]) -> dict[Node, tuple[set[Node], set[Node]]]:
    """Node -> what is to its left, what is to its right."""
    found: dict[Node, tuple[set[Node], set[Node]]] = {}
    for path in paths:
        for left, right in pairwise(path):
            found.setdefault(left, (set(), set()))[1].add(right)
            found.setdefault(right, (set(), set()))[0].add(left)
    return found


def _order(
    columns: list[list[Node]],
    neighbours: Mapping[Node, tuple[set[Node], set[Node]]],
    *,
    forward: bool,
) -> None:
    side = 0 if forward else 1
    for column in columns if forward else reversed(columns):
        rows = _rows(columns)
        means = {}
        for node in column:
            around = neighbours.get(node, (set(), set()))[side]
            means[node] = sum(rows[n] for n in around) / len(around) if around else rows[node]
        column.sort(key=means.__getitem__)


def _rows(columns: list[list[Node]]) -> dict[Node, float]:
    """Every column centred on the tallest."""
    tallest = max(map(len, columns), default=0)
    return {
        node: index + (tallest - len(column)) / 2
        for column in columns
        for index, node in enumerate(column)
    }
