"""Train the describer and write weights.safetensors beside it: `python train.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import data
import numpy as np
import safetensors.torch
import torch
from model import Describer, build
from torch import Tensor
from torch.nn import functional as F

STEPS = 1500
START = data.WORDS.index("[START]")
PAD = data.WORDS.index("[PAD]")


def batch(examples: Sequence[data.Example]) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs stacked by name, and the ids of the answers, int64 [batch, longest], 0 after the end.

    The ids start with the start token.
    """
    names = examples[0][0]
    inputs = {n: torch.from_numpy(np.stack([e[n] for e, _ in examples])) for n in names}
    rows = [torch.tensor([START, *data.ids(words)]) for _, words in examples]
    return inputs, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def fit(model: Describer) -> None:
    """Train in place, with the right words given up to each position."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
    model.train()
    for step in range(STEPS):
        inputs, tokens = batch(data.draw(128, seed=1000 + step))
        logits = model(**inputs, decoder_input_ids=tokens[:, :-1])
        loss = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=PAD)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step:5} loss {loss.item():.4f}")


def word_accuracy(model: Describer) -> float:
    """Share of the words of the evaluation set that are right, given the words before them."""
    inputs, tokens = batch(data.evaluation())
    model.eval()
    with torch.no_grad():
        chosen = model(**inputs, decoder_input_ids=tokens[:, :-1]).argmax(dim=-1)
    asked = tokens[:, 1:] != PAD
    return (chosen == tokens[:, 1:])[asked].float().mean().item()


def main() -> None:
    """Train, evaluate, write."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build()
    fit(model)
    print(f"words right: {word_accuracy(model):.4f}")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    path = Path(__file__).with_name("weights.safetensors")
    safetensors.torch.save_file(state, path)


if __name__ == "__main__":
    main()
