"""A little SVG: elements with attributes, escaped by the standard library's XML writer."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

CHARACTER_WIDTH = 0.58  # of the font size: the mean of the system's sans-serif fonts, generously


def picture(width: float, height: float, *, name: str, title: str, description: str) -> Element:
    """An <svg> with an accessible title and description; `name` is unique on the page."""
    root = Element(
        "svg",
        {
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "width": _number(width),
            "height": _number(height),
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
        },
    )
    SubElement(root, "title", {"id": f"{name}-title"}).text = _printable(title)
    SubElement(root, "desc", {"id": f"{name}-description"}).text = _printable(description)
    return root


def add(parent: Element, tag: str, text: str | None = None, **attributes: object) -> Element:
    """A child element; `class_` is written class, and other underscores are hyphens."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    values = {
        names[key]: _number(value) if isinstance(value, float | int) else _printable(str(value))
        for key, value in attributes.items()
    }
    child = SubElement(parent, tag, values)
    if text is not None:
        child.text = _printable(text)
    return child


def to_markup(root: Element) -> str:
    """The element as text to put into HTML."""
    return tostring(root, encoding="unicode", short_empty_elements=False)


def shorten(text: str, width: float, font_size: float) -> str:
    """`text`, cut in its middle with an ellipsis to be at most about `width` wide."""
    room = max(3, int(width / (CHARACTER_WIDTH * font_size)))
    if len(text) <= room:
        return text
    head = (room - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _printable(text: str) -> str:
    """Control characters are not allowed in XML, escaped or not."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
