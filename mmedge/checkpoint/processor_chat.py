"""A chat template, rendered once into plain text with places for the images and the question.

The runtime then needs no template engine, and runs nothing that a checkpoint brought along.
Rendering is sandboxed, as upstream's own is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError
from mmedge.optional import require

QUESTION = "mmedge asks"
IMAGES, TEXT = "{images}", "{text}"
Render = Callable[..., str]  # (images, question) -> prompt


def chat_template(sources: ProcessorSources, *, image_token: str) -> dict[str, str | bool]:
    """with_images, text_only and image of a prompt template: a user's turn, and the answer's start.

    Raises UnsupportedError where there is none, or where it cannot be plain text.
    """
    if sources.chat_template is None:
        raise UnsupportedError("the checkpoint has no chat template")
    render = _renderer(sources, sources.chat_template)
    one, two = render(1), render(2)
    unit = _repeated(one, two, image_token)
    start = _start_of(one, unit, image_token)
    with_images = one[:start] + IMAGES + one[start + len(unit) :]
    if with_images.replace(IMAGES, unit * 3) != render(3):
        raise UnsupportedError("the chat template numbers its images")
    return {
        "with_images": _asking(with_images),
        "text_only": _asking(render(0)),
        "image": unit,
        "strip": f" {QUESTION} " not in render(1, f" {QUESTION} "),
    }


def _asking(prompt: str) -> str:
    """The prompt with a place for the question; it must have been there once, and untouched."""
    if prompt.count(QUESTION) != 1 or TEXT in prompt:
        raise UnsupportedError("the chat template changes the question, or repeats it")
    return prompt.replace(QUESTION, TEXT)


def _repeated(one: str, two: str, image_token: str) -> str:
    """What a second image adds to the prompt."""
    length = len(two) - len(one)
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), len(one))
    for start in range(max(0, same - length), same + 1):
        unit = two[start : start + length]
        here = unit in (one[start : start + length], one[max(0, start - length) : start])
        if here and unit.count(image_token) == 1 and one[:start] + unit + one[start:] == two:
            return unit
    raise UnsupportedError(f"the chat template does not put {image_token} where images are")


def _start_of(prompt: str, unit: str, image_token: str) -> int:
    if prompt.count(image_token) != 1 or prompt.count(unit) != 1:
        raise UnsupportedError(f"the chat template repeats {image_token} for one image")
    return prompt.index(unit)


def _renderer(sources: ProcessorSources, source: str) -> Render:
    errors = require("jinja2").TemplateError
    named = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
    tokens = {name: sources.token(name) for name in named if sources.token(name) is not None}

    def render(images: int, question: str = QUESTION) -> str:
        content = [{"type": "image"}] * images + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        try:
            template = _environment().from_string(source)
            return str(template.render(messages=messages, add_generation_prompt=True, **tokens))
        except (errors, TypeError, ValueError, AttributeError, OverflowError) as error:
            found = f"{type(error).__name__}: {error}"
            raise UnsupportedError(f"the chat template cannot be rendered: {found}") from error

    return render


def _environment() -> Any:
    """What templates find in upstream's sandbox: its options, filters and functions."""
    jinja2, sandbox = require("jinja2"), require("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation()]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: object, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _generation() -> Any:
    """The tag {% generation %}, which only marks the assistant's words."""
    extension: Any = require("jinja2.ext").Extension

    class Generation(extension):  # type: ignore[misc]
        tags: ClassVar[set[str]] = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation
