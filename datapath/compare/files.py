"""Experiments and reports as files: YAML that people write, JSON that a run writes.

JSON is YAML as well, so one reader serves both, and every message names file, line and field.
Raises InvalidInput for all that is not as it should be.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from datapath.compare import reading
from datapath.compare.experiment import Experiment
from datapath.compare.report import Report
from datapath.errors import InvalidInput
from datapath.labs import document
from datapath.labs.document import Item

EXAMPLE: Final = Path(__file__).with_name("example.yaml")


def load_experiment(path: Path) -> Experiment:
    """The experiment that a YAML file declares; what it leaves out is as by default."""
    return reading.experiment(document.read(_text(path), str(path)), path.parent)


def load_report(path: Path) -> Report:
    """A report as `save` wrote it, on whichever machine."""
    return _report(path)[0]


def load_to_repeat(path: Path) -> tuple[Report, Experiment]:
    """A report, and the experiment that it is of, which this machine must know to run."""
    report, experiment = _report(path)
    return report, reading.experiment(experiment, Path.cwd())


def save(path: Path, report: Report) -> None:
    """All of it or nothing: whoever reads the file meanwhile sees the old one."""
    write(path, json.dumps(report.document(), indent=2) + "\n")


def write(path: Path, content: str | bytes) -> None:
    """Put content in a file's place; a device or pipe gets it as it comes. Raises InvalidInput."""
    target = _target(path)
    raw = content.encode() if isinstance(content, str) else content
    try:
        if target is None:
            path.write_bytes(raw)
            return
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            fresh.write_bytes(raw)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}",
            remedy="name a file in a folder that can be written and has room",
        ) from error


def check_writable(path: Path) -> None:
    """Raises InvalidInput: better before the measuring than after it."""
    target = _target(path)
    if path.is_dir() or not os.access(target.parent if target else path, os.W_OK):
        raise InvalidInput(
            f"cannot write {path}", remedy="name a file in a folder that can be written"
        )


def partial(path: Path) -> Path:
    """Where the rounds so far are while the report for `path` is not complete."""
    return path.with_name(f"{path.name}.partial")


def _report(path: Path) -> tuple[Report, Item]:
    """A report, and the experiment in it as it stands there."""
    text = _text(path)
    try:
        # NaN is not even what it is itself; where it is no figure, it is a word.
        plain = json.loads(text, parse_constant=str)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: not a report: {error}") from error
    item = document.read(text, str(path))
    return reading.report(item, plain), item.entries()["experiment"]


def _target(path: Path) -> Path | None:
    """The regular file to put in place of what is there; None for a device or pipe."""
    return None if path.exists() and not path.is_file() else path.resolve()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not text: {error.reason} at byte {error.start}") from error
