"""A real browser: Debian's Chromium, driven by Playwright, and axe-core to look for what keeps people out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import make_server

from tests.support import tool

# The machine of a test may be root's, where Chromium's own sandbox does not start; it loads nothing but our pages.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# WCAG 2.2, levels A and AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    executable = tool("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Where a browser finds the application, in this process."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def window(browser: Any, url: str, token: str | None = None, **options: Any) -> Iterator[Any]:
    """Somebody's window, logged in with a token unless there is none; what its scripts throw is raised."""
    context = browser.new_context(base_url=url, locale="en-GB", **({"viewport": DESK} | options))
    page = context.new_page()
    thrown: list[Any] = []
    # Playwright takes no built-in method.
    page.on("pageerror", lambda error: thrown.append(error))  # noqa: PLW0108
    try:
        if token is not None:
            page.goto("/login")
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.wait_for_url(lambda found: "/login" not in found)
        yield page
        assert not thrown, f"a script of the page threw {thrown}"
    finally:
        context.close()


def violations(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA: the rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}}).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def overflows(page: Any) -> bool:
    """Whether one has to scroll sideways."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide
