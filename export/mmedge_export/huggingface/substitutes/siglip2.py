"""SigLIP2's positions for pictures of any shape: upstream resizes its table one picture at a time.

`nn.functional.interpolate` (bilinear, antialiased) is a product with weights that follow from the
sizes alone: of each row of the picture over the table's rows, and of each column over its
columns. Here each patch takes its own row and column of those products, all pictures at once.

(Of a picture one patch wide torch 2.13 repeats the first row instead, depending on how the table
lies in memory. That is not what its own other layout gives, and is not imitated.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmedge_export.huggingface.substitutes.substitute import Substitute


def resized_positions(
    positional_embeddings: Tensor, spatial_shapes: Tensor, max_length: int
) -> Tensor:
    """The table [side, side, dim] for each picture [batch, 2]: [batch, max_length, dim].

    A picture's patches come row by row; places behind the last have what the first has.
    """
    height, width = spatial_shapes[:, :1], spatial_shapes[:, 1:]
    place = torch.arange(max_length, device=spatial_shapes.device)[None]
    place = torch.where(place < height * width, place, 0)
    row = torch.div(place, width, rounding_mode="floor")
    rows = weights(row, height, positional_embeddings.shape[0])
    columns = weights(place - row * width, width, positional_embeddings.shape[1])
    both = (rows[..., :, None] * columns[..., None, :]).flatten(-2)
    table = positional_embeddings.float().flatten(0, 1)
    return (both @ table).to(positional_embeddings.dtype)


def weights(place: Tensor, size: Tensor, source: int) -> Tensor:
    """[batch, places, source]: how much of each entry goes into each place of `size` places.

    A triangle around the place's centre, as wide as two places but never less than two entries,
    cut off at the table's ends (aten/native/cpu/UpSampleKernel.cpp).
    """
    scale = (source / size.float())[..., None]
    centre = scale * (place.float() + 0.5)[..., None]
    entry = torch.arange(source, device=place.device, dtype=torch.float32) + 0.5
    triangle = (1 - (entry - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    return triangle / triangle.sum(-1, keepdim=True)


SUBSTITUTES = (
    Substitute(
        module="transformers.models.siglip2.modeling_siglip2",
        kind="Siglip2VisionEmbeddings",
        method="resize_positional_embeddings",
        source_sha256="68f911bfd61655d9c59652efe73960376dd3ec2f78988c229b179e51d73b55d4",
        version="5.23.0",
        replacement=staticmethod(resized_positions),
    ),
)
