"""Several texts for every example: queries to look for, labels that are joined to one text."""

from __future__ import annotations

from mmedge.errors import InputError
from mmedge.runtime.preprocess.text import texts_of


def queries_of(value: object, *, name: str) -> list[list[str]]:
    """For every example, its texts: a list of str is one example, a list of lists a batch."""
    if isinstance(value, list | tuple) and any(isinstance(one, list | tuple) for one in value):
        return [texts_of(one, name=f"{name}[{i}]") for i, one in enumerate(value)]
    return [texts_of(value, name=name)]


def labels_of(value: object, *, name: str) -> list[str]:
    """Grounding DINO's texts: labels joined as "a cat. a dog."; a str is taken as it is.

    A list of str without dots holds the labels of one image; with dots, a text for each image.
    """
    if isinstance(value, list | tuple) and any(isinstance(one, list | tuple) for one in value):
        return [_joined(texts_of(one, name=f"{name}[{i}]")) for i, one in enumerate(value)]
    texts = texts_of(value, name=name)
    return (
        texts if isinstance(value, str) or any("." in text for text in texts) else [_joined(texts)]
    )


def _joined(labels: list[str]) -> str:
    if any("." in label for label in labels):
        raise InputError("a label holds a dot, which separates labels", found=labels)
    return ". ".join(label.strip().lower() for label in labels) + "."
