"""The kit's version: the distribution's own, read without importing packaging machinery."""

from typing import Final

VERSION: Final = "0.1.0"
