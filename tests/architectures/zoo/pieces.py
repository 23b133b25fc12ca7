"""Vocabularies of word pieces, counted from the sentences.

The `tokenizers` library trains plain byte pairs the same way every time, but neither word pieces,
nor unigrams, nor pairs with an end-of-word mark: what a checkpoint writes would change from run to
run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

LONGEST_PIECE = 6


def starts_and_rests(words: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each piece begins a word, and how often it stands inside one."""
    starts: Counter[str] = Counter()
    rests: Counter[str] = Counter()
    for word in words:
        for first in range(len(word)):
            for last in range(first + 1, min(len(word), first + LONGEST_PIECE) + 1):
                (rests if first else starts)[word[first:last]] += 1
    return starts, rests


def frequent(counts: Counter[str], size: int) -> list[str]:
    """All single letters, then the longest of the pieces that occur most; ties by the alphabet."""
    letters = sorted(piece for piece in counts if len(piece) == 1)
    longer = [piece for piece in counts if len(piece) > 1]
    longer.sort(key=lambda piece: (-counts[piece] * (len(piece) - 1), piece))
    return [*letters, *longer[: max(size - len(letters), 0)]]


def word_pieces(sentences: Iterable[str], size: int) -> list[str]:
    """As BERT's: inside a word, a piece starts with ##."""
    words = [word for sentence in sentences for word in sentence.lower().split()]
    starts, rests = starts_and_rests(words)
    letters = sorted({*starts, *rests} & {letter for word in words for letter in word})
    starts.update(letters)
    rests.update(letters)
    inside = [f"##{piece}" for piece in frequent(rests, size // 2)]
    return [*frequent(starts, size // 2), *inside]


def unigrams(sentences: Iterable[str], size: int) -> list[tuple[str, float]]:
    """As SentencePiece's: a word starts with ▁, and every piece has its logarithm of frequency."""
    words = [f"▁{word}" for sentence in sentences for word in sentence.split()]
    starts, rests = starts_and_rests(words)
    counts = starts + rests
    total = math.log(counts.total())
    return [(piece, math.log(counts[piece]) - total) for piece in frequent(counts, size)]


def ended_pairs(sentences: Iterable[str], size: int) -> list[tuple[str, str]]:
    """The `size` first merges of byte pairs as CLIP's: the end of a word is marked </w>."""
    words = Counter(word for sentence in sentences for word in sentence.lower().split())
    spelled = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    merges = []
    for _ in range(size):
        counts: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in pairwise(parts):
                counts[pair] += words[word]
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        spelled = {word: merged(parts, merges[-1]) for word, parts in spelled.items()}
    return merges


def merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts, with every occurrence of the pair made one."""
    done: list[str] = []
    for part in parts:
        if done and (done[-1], part) == pair:
            done[-1] += part
        else:
            done.append(part)
    return done
