"""YAML read with its places: every value knows its file, line and field.

Only plain YAML is taken: mappings, lists and scalars, without anchors or tags. Scalars are read as
they are written (`no` is a name, `12:34` is not a number of minutes), and converted where the
schema says what they are to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

import yaml

from datapath.errors import InvalidInput

_MAX_SIZE: Final = 8 << 20  # characters; a lab of a thousand nodes has a hundredth
_MAX_DEPTH: Final = 12
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TRUE: Final = {"true", "yes", "on"}
_FALSE: Final = {"false", "no", "off"}

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Item:
    """A value in a document: its YAML node, and where it stands."""

    file: str
    field: str  # "nodes.ns0.interfaces.veth0", "" for the document
    line: int  # where its name is written, or itself in a list
    node: yaml.Node

    def refuse(self, message: str, *, remedy: str = "") -> NoReturn:
        """Raise InvalidInput with file, line and field before the message."""
        _refuse(self.file, self.line, f"{self.field}: {message}" if self.field else message, remedy)

    @property
    def kind(self) -> str:
        """What it is, for messages."""
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a single value"

    @property
    def empty(self) -> bool:
        """Whether nothing is written there (`ns0:` with nothing after it)."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.value == ""

    def entries(self) -> dict[str, Item]:
        """A mapping's values by key; nothing written counts as an empty one."""
        if self.empty:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"{self.kind} where a mapping (name: value) belongs")
        found: dict[str, Item] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                _refuse(self.file, line, "only a word can be the name of a field", "quote it")
            field = f"{self.field}.{key.value}" if self.field else key.value
            item = Item(self.file, field, line, value)
            if key.value in found:
                item.refuse("it stands there twice", remedy="keep one of the two")
            found[key.value] = item
        return found

    def fields(self, known: tuple[str, ...], required: tuple[str, ...] = ()) -> Fields:
        """A mapping that has no other fields than these, and all that are required."""
        found = self.entries()
        for name, item in found.items():
            if name not in known:
                item.refuse("there is no such field", remedy=f"known here: {', '.join(known)}")
        for name in required:
            if name not in found:
                self.refuse(f"field {name} is missing", remedy=f"add {name}:")
        return Fields(found)

    def items(self) -> list[Item]:
        """A list's values; nothing written counts as an empty one."""
        if self.empty:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse(f"{self.kind} where a list belongs", remedy="write [one, two]")
        return [
            Item(self.file, f"{self.field}[{index}]", node.start_mark.line + 1, node)
            for index, node in enumerate(self.node.value)
        ]

    def one_or_more(self) -> list[Item]:
        """A list's values, or the only value where it is none."""
        return [self] if isinstance(self.node, yaml.ScalarNode) and not self.empty else self.items()

    def text(self) -> str:
        """A scalar as written, never empty; it may have lines and tabs."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.refuse(f"{self.kind} where a single value belongs")
        if not self.node.value.strip():
            self.refuse("nothing is written here", remedy="give it a value, or leave it out")
        if control := _CONTROL.search(self.node.value):
            self.refuse(f"{control[0]!r} is a control character", remedy="leave it out")
        return str(self.node.value)

    def boolean(self) -> bool:
        """true or false."""
        text = self.text().lower()
        if text not in _TRUE | _FALSE:
            self.refuse(f"{text!r} is neither true nor false", remedy="write true or false")
        return text in _TRUE

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, in decimal."""
        text = self.text()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            self.refuse(f"{text!r} is not a whole number", remedy=f"write one of {low} to {high}")
        if not low <= int(text) <= high:
            self.refuse(f"{text} is out of range", remedy=f"write one of {low} to {high}")
        return int(text)

    def choice(self, allowed: tuple[str, ...]) -> str:
        """One of several words."""
        text = self.text()
        if text not in allowed:
            self.refuse(f"{text!r} is not known", remedy=f"write one of {', '.join(allowed)}")
        return text

    def parsed(self, parse: Callable[[str], T], what: str, example: str) -> T:
        """The text as `parse`, which raises ValueError, reads it."""
        text = self.text()
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(f"{text!r} is not {what}: {error}", remedy=f"write it as {example}")


class Fields(dict[str, Item]):
    """A mapping's fields by name, most of which may be left out."""

    def value(self, name: str, read: Callable[[Item], T], default: D) -> T | D:
        """What `read` makes of a field, `default` where it is left out."""
        return read(self[name]) if name in self else default

    def each(self, name: str, read: Callable[[Item], T]) -> tuple[T, ...]:
        """What `read` makes of each value of a list, or of the only one; left out, none."""
        return tuple(read(item) for item in self[name].one_or_more()) if name in self else ()


def read(text: str, file: str) -> Item:
    """A document as its outermost value. Raises InvalidInput with the line where it is not YAML."""
    if len(text) > _MAX_SIZE:
        _refuse(file, 1, "too long for a lab", f"use at most {_MAX_SIZE} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_plain(yaml.parse(text, Loader=loader), file)
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context
        remedy = "check indentation, colons and quotes there"
        _refuse(file, mark.line + 1 if mark else 1, f"not YAML: {problem}", remedy)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(file, line, f"not YAML: {error.reason}", "save it as plain UTF-8 text")
    if node is None:
        _refuse(file, 1, "nothing is written here", "begin with title: and nodes:")
    return Item(file, "", 1, node)


def _check_plain(events: Iterable[yaml.Event], file: str) -> None:
    """Refuse what anchors repeat, tags, and a bottomless nest."""
    depth = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            _refuse(file, line, "anchors and aliases (&, *) are not for labs", "write it out")
        if tag := getattr(event, "tag", None):
            _refuse(file, line, f"tag {tag} is not for labs", "leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            _refuse(file, line, "nested too deeply for a lab", "see `ebpfnet lab show --yaml`")


def _refuse(file: str, line: int, message: str, remedy: str) -> NoReturn:
    raise InvalidInput(f"{file}:{line}: {message}", remedy=remedy)
