"""Variants of modes and workloads as people write them: NAME, NAME:OPTION, NAME:OPTION=VALUE,...

    bridge-nf:rules=100,conntrack    tc:clsact    ns_per_packet:size=1500

Whoever takes options asks for each by name and kind; what nobody has asked for is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datapath.errors import InvalidInput


class Options:
    """The options of one variant, as they were written."""

    def __init__(self, text: str) -> None:
        """Of a variant with this `text`. Raises InvalidInput where an option is given twice."""
        self.text = text
        self.name, _, rest = text.partition(":")
        self._given: dict[str, str | None] = {}
        for part in filter(None, rest.split(",")):
            option, equals, value = part.partition("=")
            if option in self._given:
                raise InvalidInput(f"{text}: {option} is given twice")
            self._given[option] = value if equals else None
        self._known: list[str] = []

    @property
    def given(self) -> Mapping[str, str | None]:
        """The options as written, those left out that were asked for; None for a flag."""
        return self._given

    def flag(self, name: str) -> bool:
        """Whether an option without a value is there."""
        self._known.append(name)
        if name not in self._given:
            return False
        if self._given.pop(name) is not None:
            raise InvalidInput(f"{self.text}: {name} takes no value")
        return True

    def one_of(self, names: Sequence[str], default: str) -> str:
        """Which of some flags that exclude each other is there."""
        found = [name for name in names if self.flag(name)]
        if len(found) > 1:
            raise InvalidInput(f"{self.text}: {found[0]} and {found[1]} exclude each other")
        return found[0] if found else default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """An option whose value is a whole number."""
        self._known.append(f"{name}=N")
        if name not in self._given:
            return default
        text = self._given.pop(name) or ""
        # Digits alone: int() takes signs, spaces and underscores as well.
        if not (text.isascii() and text.isdigit() and len(text) < 10) or not (
            least <= int(text) <= most
        ):
            raise InvalidInput(f"{self.text}: {name} is a number from {least} to {most}")
        return int(text)

    def refuse_others(self) -> None:
        """Raises InvalidInput, naming those there are, where one is left that nobody knows."""
        if self._given:
            known = f"choose from {', '.join(self._known)}" if self._known else "leave it out"
            raise InvalidInput(
                f"{self.name} has no option {next(iter(self._given))!r}", remedy=known
            )
