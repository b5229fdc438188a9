"""What became of the tests of a pytest that runs elsewhere, read while it goes on.

That pytest is given `--report-log=FILE` (pytest-reportlog), to which it writes each report at once:
what is known outlives a machine that dies.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import pytest


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one test, with the reason of a skip or the whole text of a failure."""

    outcome: Literal["passed", "failed", "skipped"]
    text: str = ""


def read(log: Path, test: str, config: pytest.Config) -> Result | None:
    """The result of a test, by its id; None if it is not over yet."""
    reports = [report for report in _reports(log, config) if report.nodeid == test]
    if not any(report.when == "teardown" for report in reports):
        return None
    failures = [report for report in reports if report.failed]
    if failures:
        return Result("failed", "\n".join(_told(report) for report in failures))
    for report in reports:
        if report.skipped:
            _file, _line, reason = cast("tuple[str, int, str]", report.longrepr)
            return Result("skipped", reason.removeprefix("Skipped: "))
    return Result("passed")


def _reports(log: Path, config: pytest.Config) -> list[pytest.TestReport]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [
        config.hook.pytest_report_from_serializable(config=config, data=entry)
        for entry in entries
        if entry["$report_type"] == "TestReport"
    ]


def _told(report: pytest.TestReport) -> str:
    """All that pytest prints of a failure."""
    return "\n".join([report.longreprtext, *(f"{name}\n{text}" for name, text in report.sections)])
