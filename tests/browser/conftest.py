"""The page in headless Chromium, the distribution's, with no network."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datapath.compare import Report, html

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--disable-gpu", "--disable-quic", "--disable-component-update", "--disable-sync")
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


@dataclass
class Opened:
    """A page, and what went on while it was shown."""

    page: "playwright.Page"
    said: list[str] = field(default_factory=list)  # on the console, and errors
    asked: list[str] = field(default_factory=list)  # addresses


Open = Callable[..., Opened]


# Not for the session: while it is there an event loop runs, which pyroute2 does not bear, and
# Chromium itself would be left behind by whatever test comes between.
@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    # Chromium's sandbox refuses root.
    flags = (*FLAGS, "--no-sandbox") if os.geteuid() == 0 else FLAGS
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=[*flags])
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser: "playwright.Browser", tmp_path: Path) -> Iterator[Open]:
    """Shows a report: show(report, size="phone", color_scheme="dark", ...)."""
    contexts = []

    def show_report(report: Report, size: str = "desktop", **options: object) -> Opened:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        file = tmp_path / "report.html"
        file.write_text(html.render(report))
        opened.page.goto(file.as_uri())
        return opened

    yield show_report
    for context in contexts:
        context.close()
