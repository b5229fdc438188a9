"""Labs: topologies that are declared in YAML, built, checked by traffic, and taken down again."""

from __future__ import annotations

from typing import Final

# Before a lab's name in that of its journal: no network's name has a dot.
JOURNAL_PREFIX: Final = "lab."
