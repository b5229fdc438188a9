"""Where labs are found: presets in the package, files of users, and what is up at the moment."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath import journal
from datapath.errors import InvalidInput, NotFound
from datapath.labs import JOURNAL_PREFIX
from datapath.labs.loader import load
from datapath.labs.model import Lab
from datapath.labs.planning import namespace, netns_name

PRESETS: Final = Path(__file__).parent / "presets"
_SUFFIXES: Final = (".yaml", ".yml")


def journal_name(lab: str) -> str:
    """What a lab's journal is called, beside those of networks."""
    return f"{JOURNAL_PREFIX}{lab}"


def record(lab: str) -> Path:
    """Where a lab's declaration is kept while it is up."""
    return journal.FOLDER / f"{journal_name(lab)}.yaml"


def presets() -> list[Lab]:
    """Every lab in the package, by name."""
    return [_read(file) for file in sorted(PRESETS.glob("*.yaml"), key=lambda file: file.stem)]


def running() -> list[Lab]:
    """Every lab that is up, by name; but what another version of the kit has built and this one
    cannot read, or has gone meanwhile.
    """
    found = []
    for file in sorted(journal.FOLDER.glob(f"{JOURNAL_PREFIX}*.yaml"), key=lambda file: file.stem):
        with suppress(InvalidInput, NotFound):
            found.append(_read(file, file.stem.removeprefix(JOURNAL_PREFIX)))
    return found


def journalled() -> list[str]:
    """Names of labs that have a journal: those that are up, or were killed half-way."""
    return [
        name.removeprefix(JOURNAL_PREFIX)
        for name in journal.networks()
        if name.startswith(JOURNAL_PREFIX)
    ]


def namespace_of(node: str) -> Path:
    """The namespace of a node that is up, by its name or LAB-NODE.

    Raises NotFound, also where it is gone; InvalidInput where it could be one of several.
    """
    labs = running()
    found = {
        netns_name(lab.name, name): (lab, name)
        for lab in labs
        for name in lab.nodes
        if node in (name, netns_name(lab.name, name))
    }
    if not found:
        nodes = ", ".join(name for lab in labs for name in lab.nodes)
        raise NotFound(
            f"no lab that is up has a node {node}",
            remedy=f"nodes: {nodes}" if nodes else "ebpfnet lab up bridge",
        )
    if len({namespace(*each) for each in found.values()}) > 1:  # the host may be in several
        raise InvalidInput(f"several labs have a node {node}", remedy=f"say {' or '.join(found)}")
    lab, name = next(iter(found.values()))
    require_nodes(lab, [name])
    return namespace(lab, name)


def require_nodes(lab: Lab, nodes: Iterable[str]) -> None:
    """Raises NotFound where somebody has taken a node of a lab that is up away."""
    for node in nodes:
        if not namespace(lab, node).exists():
            raise NotFound(
                f"node {node} of lab {lab.name} is gone",
                remedy=f"ebpfnet lab down {lab.name}, and up again",
            )


def declared(text: str) -> Lab:
    """The lab that a user means: a file where `text` is a path, else a preset.

    Raises InvalidInput, which names file and line; NotFound.
    """
    if _is_file(text):
        return _read(Path(text))
    preset = PRESETS / f"{text}.yaml"
    if not preset.is_file():
        raise NotFound(
            f"there is no lab {text}", remedy="see `ebpfnet lab list`, or give a file: ./mine.yaml"
        )
    return _read(preset)


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith(_SUFFIXES)


def name_of(text: str) -> str:
    """A lab's name, by itself or as the file has it. Raises as `declared` for a file."""
    return declared(text).name if _is_file(text) else text


def standing(text: str) -> Lab:
    """The lab of this name, or of this file's, that is up; the only one for "".

    Raises NotFound, InvalidInput.
    """
    name = name_of(text)
    labs = running()
    found = [lab for lab in labs if lab.name == name] if name else labs
    if not found:
        said = f"lab {name} is not up" if name else "no lab is up"
        raise NotFound(said, remedy=f"ebpfnet lab up {text or 'bridge'}")
    if len(found) > 1:
        raise InvalidInput(
            "several labs are up", remedy=f"name one of {', '.join(lab.name for lab in found)}"
        )
    return found[0]


def _read(file: Path, name: str = "") -> Lab:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{file}:{line}: not UTF-8 text", remedy="save it as UTF-8") from error
    except OSError as error:
        raise NotFound(
            f"cannot read {file}: {error.strerror}", remedy="give another file"
        ) from error
    return load(text, str(file), name or file.stem)
