"""The files that a comparison is written to: its report, a page and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datapath.compare import Report


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which to write, None where they are not asked for."""

    json: Path | None
    page: Path | None
    plot: Path | None

    def check(self) -> None:
        """Raises EbpfnetError for what could not be written after the measuring."""
        from datapath.compare import files

        for path in (self.json, self.page, self.plot):
            if path:
                files.check_writable(path)
        if self.plot:
            from datapath.compare import plot

            plot.require(self.plot)

    def keep(self, report: Report) -> None:
        """What there is after a round."""
        from datapath.compare import files

        if self.json:
            files.save(files.partial(self.json), report)

    def write(self, report: Report) -> None:
        """All that were asked for; what was kept meanwhile goes."""
        from datapath.compare import files

        if self.json:
            files.save(self.json, report)
            files.partial(self.json).unlink(missing_ok=True)
        if self.page:
            from datapath.compare import html

            files.write(self.page, html.render(report))
        if self.plot:
            from datapath.compare import plot

            plot.draw(report, self.plot)
