"""A run and its repetition: which verdicts of the first hold in the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from datapath.compare.report import NO_DIFFERENCE, Outcome, Report

NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True, slots=True)
class Held:
    """What two runs say of the same two modes.

    `holds` is "yes" where they say the same, or where only the repetition shows a difference (the
    first did not deny it); "not shown again" and "contradicted" are for differences alone.
    """

    workload: str
    mode: str
    to: str
    before: Outcome
    now: Outcome | Literal["not measured"]
    holds: Literal["yes", "not shown again", "contradicted"]


def held(before: Report, now: Report) -> tuple[Held, ...]:
    """One for each verdict of the first run, in its order."""
    found = []
    for verdict in before.verdicts:
        again = now.verdict(verdict.workload, verdict.mode, verdict.to)
        said = again.verdict if again else NOT_MEASURED
        found.append(
            Held(
                *(verdict.workload, verdict.mode, verdict.to, verdict.verdict, said),
                holds=_holds(verdict.verdict, said),
            )
        )
    return tuple(found)


def _holds(
    before: Outcome, now: Outcome | Literal["not measured"]
) -> Literal["yes", "not shown again", "contradicted"]:
    if before in (NO_DIFFERENCE, now):
        return "yes"
    return "not shown again" if now in (NO_DIFFERENCE, NOT_MEASURED) else "contradicted"
