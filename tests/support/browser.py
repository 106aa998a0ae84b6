"""Debian's Chromium, driven by Playwright: a fresh profile for each use, and nothing that calls home."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path("build") / "screenshots"
_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def page(width: int = 1280, height: int = 720, *, token: str = "", expected: Collection[str] = ()) -> Iterator["Page"]:
    """Yield an empty page of this size. What a page's scripts fail with is raised when the block ends.

    `token`: a bearer token for every request. `expected`: words of messages that are no failure.
    """
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=list(_OPTIONS),
            viewport={"width": width, "height": height},
            extra_http_headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        context.set_default_timeout(60_000)
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        try:
            yield opened
        finally:
            context.close()
    failures = [error for error in errors if not any(words in error for words in expected)]
    assert not failures, failures


def keep(opened: "Page", name: str) -> Path:
    """Keep a picture of what the page shows, as an artefact of the tests."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    opened.screenshot(path=path)
    return path
