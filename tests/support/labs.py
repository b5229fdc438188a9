"""Labs that are up for a test, and what of them is not as declared."""

from collections.abc import Iterator
from contextlib import contextmanager

from datapath.labs import checks, lifecycle
from datapath.labs.model import Lab


@contextmanager
def standing(lab: Lab) -> Iterator[Lab]:
    """Bring a lab up, and down in the end."""
    lifecycle.up(lab)
    try:
        yield lab
    finally:
        lifecycle.down(lab.name)


def wrong(lab: Lab) -> list[str]:
    """Who reaches whom, or does not, other than the lab declares."""
    return [
        f"{lab.name}: {cell.source} -> {cell.target} took {cell.round_trip}"
        for cell in checks.check(lab).differing
    ]
