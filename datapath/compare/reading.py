"""What documents mean: experiments and reports from YAML or JSON, which may come from anywhere.

Raises InvalidInput, with file, line and field, for all that is not as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from datapath import modes
from datapath.compare import workloads
from datapath.compare.declared import DECLARED
from datapath.compare.experiment import DEFAULT_MODES, DEFAULT_WORKLOADS, Experiment, placed
from datapath.compare.report import SCHEMA, Gap, Outcome, Ratio, Report, Result, Verdict
from datapath.compare.workloads.base import Effort
from datapath.errors import InvalidInput
from datapath.labs import catalogue
from datapath.labs.document import Fields, Item
from datapath.labs.loader import load
from datapath.labs.model import Lab

_MOST: Final = 1_000_000_000  # of anything that is counted
_MOST_FIGURE: Final = 1e30  # any figure or ratio; quotients of two stay finite
_LONGEST: Final = 500  # characters of a text
_RESULT: Final = ("mode", "workload", "detail", "unit", "median", "low", "high", "samples")
_RATIO: Final = ("mode", "workload", "detail", "to", "ratio", "low", "high")
_STATION: Final = ("where", "label", "hook")
_GAP: Final = ("mode", "workload", "reason")

T = TypeVar("T")


def experiment(item: Item, folder: Path) -> Experiment:
    """An experiment, as by default where it says nothing; users' own modes lie as from `folder`."""
    known = ("modes", "workloads", "rounds", "precision", "max_time", "cpu", "seed", "effort")
    fields = item.fields((*known, "check", "lab", "declaration", "between"))
    effort = fields["effort"].fields(("packets", "seconds")) if "effort" in fields else {}
    usual = Effort()
    found = Experiment(
        modes=_optional(
            fields, "modes", lambda each: _modes(each, folder, "lab" in fields), DEFAULT_MODES
        ),
        workloads=_optional(fields, "workloads", _workloads, DEFAULT_WORKLOADS),
        rounds=_optional(fields, "rounds", lambda each: each.integer(1, 1000), None),
        precision=_optional(fields, "precision", lambda each: _number(each, 0.1, 100), 5.0),
        max_time=_optional(fields, "max_time", lambda each: _number(each, 1, 1e6), None),
        cpu=_optional(fields, "cpu", lambda each: each.integer(0, 1 << 16), None),
        seed=_optional(fields, "seed", lambda each: each.integer(0, (1 << 32) - 1), None),
        effort=Effort(
            packets=_optional(
                effort, "packets", lambda each: each.integer(1, _MOST), usual.packets
            ),
            seconds=_optional(effort, "seconds", lambda each: each.integer(1, 60), usual.seconds),
        ),
        check=_optional(fields, "check", Item.boolean, False),
    )
    if lab := _lab(fields, folder):
        found = found.in_lab(lab, fields.each("between", _label))
    _agrees(fields.get("modes", item), found.labelled)
    _agrees(fields.get("workloads", item), found.loads)
    return found


def _lab(fields: Fields, folder: Path) -> Lab | None:
    """A lab by its lines, as reports have it, or by name or file, as people do."""
    name = _optional(fields, "lab", _label, "")
    if not name:
        return None
    if not (lines := fields.each("declaration", _label)):
        return catalogue.declared(str(folder / name) if "/" in name or "." in name else name)
    lab = load("\n".join([*lines, ""]), f"{fields['lab'].file}, lab {name}", name)
    starts = any(node.commands or node.processes for node in lab.nodes.values())
    if starts and lab.text not in (preset.text for preset in catalogue.presets()):
        # Whoever repeats a report may not have read what stands in it.
        fields["declaration"].refuse(
            "it starts programs, as root, and is no lab of this kit's",
            remedy="put it in a file, read it, and measure that: ebpfnet compare --lab FILE",
        )
    return lab


def report(item: Item, plain: Mapping[str, Any]) -> Report:
    """A report; `plain` is the same document as JSON has it, from which free forms are taken."""
    fields = item.entries()
    if "schema" not in fields:
        item.refuse("this is no report of ebpfnet", remedy="see `ebpfnet compare --json`")
    if (schema := fields["schema"].integer(0, _MOST)) != SCHEMA:
        fields["schema"].refuse(
            f"{schema} is not the form that this version reads ({SCHEMA})",
            remedy="read it by the version that wrote it",
        )
    lists = ("results", "ratios", "verdicts", "gaps")
    fields = item.fields(
        ("schema", "environment", "experiment", *lists, "ended"),
        required=("environment", "experiment", *lists),
    )
    _check_environment(fields["environment"])
    _check_told(fields["experiment"])
    found = Report(
        environment=plain["environment"],
        experiment=plain["experiment"],
        results=tuple(_result(each) for each in fields["results"].items()),
        ratios=tuple(_ratio(each) for each in fields["ratios"].items()),
        verdicts=tuple(_verdict(each) for each in fields["verdicts"].items()),
        gaps=tuple(_gap(each) for each in fields["gaps"].items()),
        ended=_optional(fields, "ended", _label, ""),
    )
    _check_whole(found, fields["results"])
    return found


def _result(item: Item) -> Result:
    fields = item.fields((*_RESULT, "sent", "arrived", "lossy"), required=_RESULT)
    figure = _finite if _label(fields["detail"]) else _positive
    return Result(
        mode=_label(fields["mode"]),
        workload=_label(fields["workload"]),
        detail=_label(fields["detail"]),
        unit=_label(fields["unit"]),
        median=figure(fields["median"]),
        low=figure(fields["low"]),
        high=figure(fields["high"]),
        samples=tuple(figure(each) for each in fields["samples"].items()),
        sent=_optional(fields, "sent", lambda each: each.integer(0, 1 << 62), 0),
        arrived=_optional(fields, "arrived", lambda each: each.integer(0, 1 << 62), 0),
    )


def _ratio(item: Item) -> Ratio:
    fields = item.fields(_RATIO, required=_RATIO)
    return Ratio(
        mode=_label(fields["mode"]),
        workload=_label(fields["workload"]),
        detail=_label(fields["detail"]),
        to=_label(fields["to"]),
        ratio=_positive(fields["ratio"]),
        low=_positive(fields["low"]),
        high=_positive(fields["high"]),
    )


def _verdict(item: Item) -> Verdict:
    names = (*_RATIO, "verdict", "sentence")
    fields = item.fields(names, required=names)
    said = fields["verdict"].choice(get_args(Outcome))
    return Verdict(
        workload=_label(fields["workload"]),
        detail=_label(fields["detail"]),
        mode=_label(fields["mode"]),
        to=_label(fields["to"]),
        ratio=_positive(fields["ratio"]),
        low=_positive(fields["low"]),
        high=_positive(fields["high"]),
        verdict=next(each for each in get_args(Outcome) if each == said),
        sentence=_label(fields["sentence"]),
    )


def _gap(item: Item) -> Gap:
    fields = item.fields(_GAP, required=_GAP)
    return Gap(*(_label(fields[name]) for name in _GAP))


def _check_environment(item: Item) -> None:
    """Refuse what would not be an environment to whoever shows it; what is not there may lack."""
    _check_shown(item)
    fields = _mapping(item)
    inner = {
        name: _mapping(fields[name])
        for name in ("knobs", "versions", "sources", "noise", "modes", "offloads")
        if name in fields
    }
    for name in inner.keys() & {"modes", "offloads"}:
        for each in inner[name].values():
            _mapping(each)
    for mode in inner.get("modes", {}).values():
        if path := mode.entries().get("path"):
            for station in _list(path):
                station.fields(_STATION, required=_STATION)
    for texts in (inner.get("noise", {}).get("causes"), fields.get("legacy_tables")):
        if texts:
            _list(texts)


def _check_told(item: Item) -> None:
    """Refuse an experiment of which no command could be told; `experiment` sees to the rest."""
    _check_shown(item)
    fields = _mapping(item)
    for name in fields.keys() & {"modes", "workloads"}:
        for each in _list(fields[name]):
            each.text()
    if "effort" in fields:
        _mapping(fields["effort"])


def _mapping(item: Item) -> dict[str, Item]:
    """A mapping's values; an empty text, which to YAML would be an empty mapping, is none."""
    return item.entries() if not item.empty else item.refuse("a text where a mapping belongs")


def _list(item: Item) -> list[Item]:
    """A list's values; an empty text is none."""
    return item.items() if not item.empty else item.refuse("a text where a list belongs")


def _check_shown(item: Item) -> None:
    """Refuse text that would do something to the terminal that it is shown on."""
    if item.kind == "a mapping":
        for name, value in item.entries().items():
            if not name.isprintable():
                item.refuse("a field has a name that cannot be shown")
            _check_shown(value)
    elif item.kind == "a list":
        for value in item.items():
            _check_shown(value)
    else:
        _label(item)


def _check_whole(report: Report, item: Item) -> None:
    """Refuse results that were not measured round by round, or of which one stands there twice."""
    seen = set()
    for result, each in zip(report.results, item.items(), strict=True):
        cell = result.mode, result.workload, result.detail
        if cell in seen:
            each.refuse("it stands there twice", remedy="keep one of the two")
        seen.add(cell)
        if not result.samples or len(result.samples) != report.rounds:
            each.refuse(f"{len(result.samples)} samples where there are {report.rounds} rounds")


def _modes(item: Item, folder: Path, in_lab: bool) -> tuple[str, ...]:
    names = []
    for each in _some(item):
        name = placed(_label(each), folder)
        if not (in_lab and name == DECLARED):
            _agrees(each, partial(modes.get, name))
        names.append(name)
    return tuple(names)


def _workloads(item: Item) -> tuple[str, ...]:
    names = []
    for each in _some(item):
        name = _label(each)
        _agrees(each, partial(workloads.get, name))
        names.append(name)
    return tuple(names)


def _some(item: Item) -> list[Item]:
    """A list of one or more."""
    return item.one_or_more() or item.refuse(
        "nothing is written here", remedy="name one or more, or leave it out"
    )


def _agrees(item: Item, resolve: Callable[[], object]) -> None:
    """Refuse what the kit does not know, in its own words."""
    try:
        resolve()
    except InvalidInput as error:
        item.refuse(error.message, remedy=error.remedy)


def _label(item: Item) -> str:
    """A text that can be shown: one line, no control characters; it may be empty."""
    text = "" if item.empty else item.text()
    if not text.isprintable() or len(text) > _LONGEST:
        item.refuse("this is no name or sentence that can be shown")
    return text


def _positive(item: Item) -> float:
    return _number(item, 1 / _MOST_FIGURE, _MOST_FIGURE)


def _finite(item: Item) -> float:
    return _number(item, -_MOST_FIGURE, _MOST_FIGURE)


def _number(item: Item, low: float, high: float) -> float:
    number = item.parsed(float, "a number", "5")
    if not low <= number <= high:
        item.refuse(f"{item.text()} is out of range")
    return number


def _optional(fields: Mapping[str, Item], name: str, read: Callable[[Item], T], default: T) -> T:
    """A field's value, or the default where it is left out or null."""
    item = fields.get(name)
    if item is None or item.node.tag == "tag:yaml.org,2002:null":
        return default
    return read(item)
