"""Output sizes equal upstream's own functions for any image: a pixel decides a token."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_transforms import get_resize_output_image_size as shortest_edge_size
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import SizeDict
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.idefics2.image_processing_pil_idefics2 import (
    get_resize_output_image_size as clipped_size,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    get_resize_output_image_size as longest_edge_size,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    get_image_size_for_max_num_patches,
)
from transformers.models.vilt.image_processing_pil_vilt import (
    get_resize_output_image_size as divisible_size,
)

from mmedge.errors import InputError
from mmedge.runtime.processors.image_size import (
    ImageSize,
    at_most_patches,
    best_resolution,
    by_longest_edge,
    by_shortest_edge,
    clipped_edges,
    divisible_within_edges,
    inside,
    near_pixel_count,
    nearest_grid,
    within_edges,
)
from mmedge.tensors import Array

edges = st.integers(1, 5000)
targets = st.integers(1, 2000)


def image(height: int, width: int) -> Array:
    """Of that shape, and no memory."""
    return np.broadcast_to(np.uint8(0), (3, height, width))


@given(edges, edges, targets)
def test_shortest_edge(height: int, width: int, edge: int) -> None:
    theirs = shortest_edge_size(
        image(height, width), edge, default_to_square=False, input_data_format="channels_first"
    )
    assert by_shortest_edge(height, width, edge=edge) == theirs


@given(edges, edges, targets, targets)
@example(427, 640, 800, 1333)
def test_both_edges(height: int, width: int, shortest: int, longest: int) -> None:
    theirs = get_size_with_aspect_ratio((height, width), shortest, longest)
    assert within_edges(height, width, shortest=shortest, longest=longest) == theirs
    size = ImageSize(shortest_edge=shortest, longest_edge=longest)
    assert size.of(height, width) == theirs


@given(edges, edges, targets, st.sampled_from([1, 14, 16, 32]))
def test_divisible(height: int, width: int, edge: int, divisor: int) -> None:
    theirs = divisible_size(
        image(height, width),
        shorter=edge,
        longer=int(1333 / 800 * edge),
        size_divisor=divisor,
        input_data_format="channels_first",
    )
    assert divisible_within_edges(height, width, shortest=edge, divisor=divisor) == theirs


@given(edges, edges, st.sampled_from([16, 28, 32]), st.integers(1, 5000), st.integers(0, 2_000_000))
def test_pixel_count(height: int, width: int, factor: int, least: int, more: int) -> None:
    most = least + factor**2 + more
    try:
        theirs = smart_resize(height, width, factor, min_pixels=least, max_pixels=most)
    except ValueError:
        with pytest.raises(InputError, match="narrow"):
            near_pixel_count(height, width, factor=factor, least=least, most=most)
        return
    assert near_pixel_count(height, width, factor=factor, least=least, most=most) == theirs


@given(edges, edges, st.integers(1, 6000))
def test_longest_edge(height: int, width: int, edge: int) -> None:
    theirs = longest_edge_size(image(height, width), resolution_max_side=edge)
    assert by_longest_edge(height, width, edge=edge, most=4096) == theirs


@given(edges, edges, targets, targets)
def test_clipped_edges(height: int, width: int, shortest: int, longest: int) -> None:
    size = SizeDict(shortest_edge=shortest, longest_edge=longest)
    theirs = clipped_size(image(height, width), size)
    assert clipped_edges(height, width, shortest=shortest, longest=longest) == theirs


@given(edges, edges, st.lists(st.tuples(targets, targets), min_size=1, max_size=6))
def test_best_resolution_and_the_size_inside_it(
    height: int, width: int, candidates: list[tuple[int, int]]
) -> None:
    ours = best_resolution(height, width, tuple(candidates))
    assert ours == select_best_resolution((height, width), candidates)
    theirs = get_patch_output_size(image(height, width), ours, "channels_first")
    assert inside(height, width, frame=ours) == theirs


@given(edges, edges, st.tuples(targets, targets), st.integers(1, 3), st.integers(0, 12))
def test_nearest_grid(
    height: int, width: int, tile: tuple[int, int], least: int, more: int
) -> None:
    columns, rows = get_optimal_tiled_canvas((height, width), tile, least, least + more)
    ours = nearest_grid(height, width, tile=tile, least=least, most=least + more)
    assert ours == (rows, columns)


@given(edges, edges, st.sampled_from([14, 16]), st.integers(4, 1024))
def test_patch_count(height: int, width: int, patch: int, most: int) -> None:
    theirs = get_image_size_for_max_num_patches(height, width, patch, most)
    ours = at_most_patches(height, width, patch=patch, most=most)
    assert ours == theirs


@given(edges, edges, st.tuples(targets, targets))
def test_exact_and_bounded_sizes(height: int, width: int, target: tuple[int, int]) -> None:
    exact = ImageSize(height=target[0], width=target[1])
    assert exact.of(height, width) == target
    bounded = ImageSize(max_height=target[0], max_width=target[1]).of(height, width)
    assert bounded[0] <= target[0]
    assert bounded[1] <= target[1]
