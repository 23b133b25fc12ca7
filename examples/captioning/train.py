"""Train the network and write every file that goes with it: `python train.py`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import data
import numpy as np
import safetensors.torch
import torch
from declared import LONGEST, preprocess
from digits import load_digits
from files import make_archive, write, write_archive, write_sample
from model import Captioner, build
from optimizer import Optimizer
from sampling import EMPTY, Batch, Sampler
from torch import Tensor, nn
from torch.nn import functional

EVALUATION_SIZE = 500
CALIBRATION_SIZE = 100
# The data sets do not follow --seed, so that every trained network describes the same pictures.
EVALUATION_SEED = 1
CALIBRATION_SEED = 2


def teach(model: Captioner, sampler: Sampler, steps: int) -> None:
    """Train the network to write captions.

    The features of each cell must also tell its digit, to a classifier that is thrown away: the
    encoder learns to read several times sooner than from captions alone.
    """
    model.train()
    reader = nn.Linear(model.head.in_features, EMPTY + 1)
    optimizer = Optimizer([model, reader], steps, rate=4e-3)
    for step in range(1, steps + 1):
        batch = sampler.batch(64)
        features = model.image_encoder.features(batch.images)
        reading = functional.cross_entropy(
            reader(functional.avg_pool2d(features, 4).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            batch.cells,
        )
        logits = model.write(model.image_encoder.remember(features), batch.captions[:, :-1])
        writing, right = compared(logits, batch)
        optimizer.step(reading + writing)
        optimizer.show(step, writing, right)


def compared(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of the words that follow each word, and which captions are right throughout."""
    wanted = batch.captions[:, 1:]
    loss = functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=data.PAD)
    right = (logits.argmax(dim=-1) == wanted) | (wanted == data.PAD)
    return loss, right.all(dim=1)


@torch.no_grad()
def describe(model: Captioner, examples: Sequence[data.Example]) -> list[str]:
    """The model's own captions, the likeliest word each time."""
    model.eval()
    memory = model.image_encoder(preprocess(np.stack([inputs["image"] for inputs, _ in examples])))
    tokens = torch.full((len(examples), 1), data.START)
    for _ in range(LONGEST):
        chosen = model.write(memory, tokens)[:, -1].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, chosen], dim=1)
    return [data.text(row) for row in tokens[:, 1:].tolist()]


def report(model: Captioner, examples: Sequence[data.Example]) -> float:
    """Print the exact match on a data set, by number of digits and overall; return the latter."""
    wanted = [data.text(target) for _, target in examples]
    found = describe(model, examples)
    right = np.array([a == b for a, b in zip(wanted, found, strict=True)])
    shown = np.array([sum(word in data.DIGITS for word in text.split()) for text in wanted])
    for count in range(1, data.CELLS + 1):
        chosen = right[shown == count]
        print(f"{count} digits {chosen.mean():.4f} of {len(chosen)}")
    (text, times), *_ = Counter(wanted).most_common(1)
    print(f"commonest caption    {text}, {times / len(wanted):.4f}")
    print(f"held-out exact match {right.mean():.4f} of {len(right)}")
    return float(right.mean())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=data.FOLDER)
    return parser.parse_args()


def main() -> None:
    """Make the data sets, train, evaluate, and write the files."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    digits, calibration_digits, held_out_digits = load_digits()
    held_out = make_archive(held_out_digits, EVALUATION_SIZE, EVALUATION_SEED)
    calibration = make_archive(calibration_digits, CALIBRATION_SIZE, CALIBRATION_SEED)
    model = build(words=len(data.WORDS))
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    teach(model, Sampler(digits, options.seed), options.steps)
    report(model, data.examples(held_out))
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    write(output / "weights.safetensors", safetensors.torch.save(model.state_dict()))
    write_archive(output / "evaluation.npz", held_out)
    write_archive(output / "calibration.npz", calibration)
    write_sample(output / "sample.png", data.examples(held_out))


if __name__ == "__main__":
    main()
