"""SVG, built element by element, so that no text in it can be taken for markup."""

from __future__ import annotations

from xml.etree import ElementTree

Element = ElementTree.Element


def image(css: str, title: str = "", **attributes: object) -> Element:
    """An image with a title, or one that only repeats what stands beside it in words."""
    role = {"role": "img"} if title else {"aria-hidden": "true"}
    svg = Element("svg", _written({"class": css, **role, **attributes}))
    if title:
        add(svg, "title", title)
    return svg


def add(parent: Element, tag: str, text: str = "", **attributes: object) -> Element:
    """A new last child. `text_anchor=` writes text-anchor, `css=` writes class."""
    child = ElementTree.SubElement(parent, tag, _written(attributes))
    child.text = text or None
    return child


def text_of(svg: Element) -> str:
    """As it stands within HTML."""
    return ElementTree.tostring(svg, encoding="unicode")


def share(fraction: float) -> str:
    """A part of the image's width, for images that are as wide as their place."""
    return f"{100 * fraction:.2f}%"


def _written(attributes: dict[str, object]) -> dict[str, str]:
    return {
        "class" if name == "css" else name.rstrip("_").replace("_", "-"): (
            f"{value:g}" if isinstance(value, float) else str(value)
        )
        for name, value in attributes.items()
    }
