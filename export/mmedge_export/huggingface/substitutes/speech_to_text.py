"""Speech2Text's mask of what its convolutions make of a padded sound: a comparison of places.

Upstream writes a one at each sound's last place and sums from behind; the writing does not export.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmedge_export.huggingface.substitutes.substitute import Substitute


def feature_mask(self: Any, feature_vector_length: int, attention_mask: Tensor) -> Tensor:
    """int64 [batch, length]: 1 where there is sound."""
    if attention_mask.ndim > 2:
        attention_mask = attention_mask[:, :, -1]
    lengths = self._get_feat_extract_output_lengths(attention_mask.sum(-1))
    places = torch.arange(feature_vector_length, device=attention_mask.device)
    # Nothing to hear counts from behind for upstream: as the last place, and so as everything.
    heard = torch.where(lengths > 0, lengths, feature_vector_length)
    return (places < heard[:, None]).long()


SUBSTITUTES = (
    Substitute(
        module="transformers.models.speech_to_text.modeling_speech_to_text",
        kind="Speech2TextPreTrainedModel",
        method="_get_feature_vector_attention_mask",
        source_sha256="d6c6a72c94f635452e6eeda2ec87d8fe314419c935ab660693dc6a7b05aacbe5",
        version="5.23.0",
        replacement=feature_mask,
    ),
)
