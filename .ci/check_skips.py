"""Holds a test run to account for what it skipped.

Usage: check_skips.py JUNIT-XML ALLOW-LIST

Reads pytest's report and the list of skips that are expected, names every other skip, and closes
with one line of counts. Exit code 1 if a skip was not expected, a test failed, or none passed.

The allow-list has one `TEST | REASON` per line, both shell patterns over the whole test id
(`tests/unit/test_x.py::test_name[case]`) and the whole reason; `#` starts a comment line. Listed
tests may also run: what one machine lacks another has.
"""

import sys
import xml.etree.ElementTree as ET
from fnmatch import fnmatchcase
from pathlib import Path


def read_allowed(path: Path) -> list[tuple[str, str]]:
    """The (test, reason) patterns of an allow-list; ValueError for a malformed line."""
    pairs = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test, bar, reason = line.partition(" | ")
            if not bar:
                raise ValueError(f"{path}: not `TEST | REASON`: {line}")
            pairs.append((test.strip(), reason.strip()))
    return pairs


def main(report: Path, allow_list: Path) -> int:
    """Print the unexpected skips and the counts; return the exit code."""
    allowed = read_allowed(allow_list)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    unexpected = 0
    # The report is written by the same run, not by a stranger.
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skip is None:
            counts["passed"] += 1
        else:
            counts["skipped"] += 1
            test = f"{case.get('file')}::{case.get('name')}"
            reason = skip.get("message", "")
            if reason == "collection skipped":  # a whole module: the text has the reason
                reason = skip.text or ""
            if not any(fnmatchcase(test, t) and fnmatchcase(reason, r) for t, r in allowed):
                print(f"unexpected skip: {test} | {reason}")
                unexpected += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return 1 if unexpected or counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
