"""A report as a page to look at and to pass on: one file, which asks the network for nothing.

page.html is the template, styles and page.js go into it whole. A policy in the page allows these
alone, by their hashes: should a text in a report ever get past the escaping, it runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datapath.compare import figures
from datapath.compare.html import charts, page
from datapath.compare.report import Report
from datapath.compare.workloads.breakdown import PARTS

_HERE: Final = Path(__file__).parent


def render(report: Report) -> str:
    """The page as HTML, its data included."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": figures.digits, "marker": charts.marker}
    css = "".join((_HERE / name).read_text() for name in ("page.css", "figures.css"))
    js = (_HERE / "page.js").read_text()
    return environment.get_template("page.html").render(
        report=report,
        headline=page.headline(report),
        context=page.context(report),
        machine=page.machine(report),
        tables=page.tables(report),
        disturbances=page.disturbances(report),
        breakdowns=page.breakdowns(report),
        parts=PARTS,
        plots=page.plots(report),
        level_marker=charts.level_marker(),
        verdicts=page.verdicts(report),
        paths=page.paths(report),
        command=page.command(report.experiment),
        css=css,
        js=js,
        policy=f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'",
        data=_base64(json.dumps(report.document(), indent=2)),
    )


def _hash(text: str) -> str:
    """As content security policies name a text that they allow."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
