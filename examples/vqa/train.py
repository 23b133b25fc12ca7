"""Train the network and write every file that goes with it: `python train.py`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import data
import numpy as np
import safetensors.torch
import torch
from declared import preprocess
from digits import load_digits
from files import make_archive, make_tokenizer, write, write_archive, write_json, write_sample
from model import VQA, ImageEncoder, build
from numpy.typing import NDArray
from optimizer import Optimizer
from sampling import Sampler
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

EVALUATION_SIZE = 1500
CALIBRATION_SIZE = 200
# The data sets do not follow --seed, so that every trained network answers the same questions.
EVALUATION_SEED = 1
CALIBRATION_SEED = 2


def teach_reading(encoder: ImageEncoder, sampler: Sampler, steps: int) -> None:
    """Train the image encoder to name what each cell shows."""
    print("image encoder")
    encoder.train()
    optimizer = Optimizer([encoder], steps, rate=6e-3)
    for step in range(1, steps + 1):
        images, digits, colours = sampler.reading_batch(64)
        digit_logits, colour_logits = encoder.read(images)
        loss = functional.cross_entropy(digit_logits, digits)
        loss = loss + functional.cross_entropy(colour_logits, colours)
        optimizer.step(loss)
        optimizer.show(step, loss, digit_logits.argmax(dim=1) == digits)


def teach_answering(model: VQA, tokenizer: Tokenizer, sampler: Sampler, steps: int) -> None:
    """Train the question encoder and the classifier; the image encoder stays as it is."""
    print("question encoder and classifier")
    model.train()
    model.image_encoder.eval()
    every_ids = token_ids(tokenizer, data.every_question())
    optimizer = Optimizer([model.question_encoder, model.classifier], steps, rate=6e-3)
    each = 16
    for step in range(1, steps + 1):
        images, rows, answers = sampler.answering_batch(16, each)
        with torch.no_grad():
            pictured = model.image_encoder(images).repeat_interleave(each, dim=0)
        # Encoding every question once costs less than encoding each one as often as it is asked.
        worded = model.question_encoder(every_ids)[rows]
        logits = model.classifier(torch.cat([worded, pictured], dim=1))
        loss = functional.cross_entropy(logits, answers)
        optimizer.step(loss)
        optimizer.show(step, loss, logits.argmax(dim=1) == answers)


def token_ids(tokenizer: Tokenizer, questions: Sequence[str]) -> Tensor:
    """Encode questions as int64 [n, TOKENS]."""
    return torch.tensor([tokenizer.encode(question).ids for question in questions])


def predictions(
    model: VQA, tokenizer: Tokenizer, examples: Sequence[data.Example]
) -> Iterator[int]:
    """Answer the examples, in batches, by the index of the highest logit."""
    model.eval()
    for start in range(0, len(examples), 100):
        inputs = [example for example, _ in examples[start : start + 100]]
        images = preprocess(np.stack([example["image"] for example in inputs]))
        ids = token_ids(tokenizer, [example["question"] for example in inputs])
        with torch.no_grad():
            yield from model(images, ids).argmax(dim=1).tolist()


def report(model: VQA, tokenizer: Tokenizer, archive: dict[str, NDArray[Any]]) -> float:
    """Print the accuracy on a data set, by kind of question and overall, and return the latter."""
    answered = np.fromiter(predictions(model, tokenizer, data.examples(archive)), dtype=np.int64)
    right = answered == archive["targets"]
    for kind in data.PHRASINGS:
        chosen = right[archive["kinds"] == kind]
        print(f"{kind:17} {chosen.mean():.4f} of {len(chosen)}")
    (answer, count), *_ = Counter(archive["targets"].tolist()).most_common(1)
    print(f"commonest answer  {data.ANSWERS[answer]}, {count / len(right):.4f}")
    print(f"held-out accuracy {right.mean():.4f} of {len(right)}")
    return float(right.mean())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reading-steps", type=int, default=1000, help="for the image encoder")
    parser.add_argument("--answering-steps", type=int, default=4000, help="for the rest")
    parser.add_argument("--threads", type=int, default=2)
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
    tokenizer = make_tokenizer()
    model = build(vocabulary=tokenizer.get_vocab_size(), answers=len(data.ANSWERS))
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    sampler = Sampler(digits, options.seed)
    teach_reading(model.image_encoder, sampler, options.reading_steps)
    teach_answering(model, tokenizer, sampler, options.answering_steps)
    report(model, tokenizer, held_out)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    write(output / "weights.safetensors", safetensors.torch.save(model.state_dict()))
    write(output / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    write_json(output / "answers.json", data.ANSWERS)
    write_archive(output / "evaluation.npz", held_out)
    write_archive(output / "calibration.npz", calibration)
    write_sample(output / "sample.png", data.examples(held_out))


if __name__ == "__main__":
    main()
