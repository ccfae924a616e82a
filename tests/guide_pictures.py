"""The pictures of the guides in `api/web/guides`, in each language: a part of a page each; no picture shows a person.

`make screenshots` takes them too, into the folder `guides`; the guides have copies of those.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from api.documents.wording import LANGUAGES
from tests.screens import window
from tests.system import System

NARROW, SMALL = {"width": 680, "height": 900}, {"width": 520, "height": 900}
READER = {"principal": "Dr Example", "scopes": ["read", "review"], "roles": ["physician"]}
MODEL = "phantom-lesion"
REASON = "the disk is exchanged at 22:00"


def take_guide_pictures(browser: Any, system: System, out: Path) -> None:
    """Write them: `NAME.png` in English, else `NAME.LANGUAGE.png`."""
    out.mkdir(parents=True, exist_ok=True)
    waiting = _let_wait(system)
    reader = system.http.post("/api/v1/tokens", json=READER).json()["token"]
    for language in LANGUAGES:
        with window(browser, f"http://127.0.0.1:{system.port}", reader, viewport=NARROW) as page:
            page.goto(f"/language/{language}?next=/")
            suffix = "" if language == LANGUAGES[0] else f".{language}"
            for name, *parts in _parts(system, page, waiting):
                page.wait_for_load_state("networkidle")
                _take(page, out / f"{name}{suffix}.png", *parts)


def _parts(system: System, page: Any, waiting: str) -> Iterator[tuple[str, str, str]]:
    """The name of each picture, and the first and the last part of the open page that it is of."""
    page.goto("/")
    yield "tonight", "#verdict", "#counts"
    page.goto(f"/jobs/{waiting}")
    yield "waiting", "h1", "#job"
    page.goto(f"/reports/{_unsigned(system)}")
    page.locator("input[value=agree]").first.check()
    yield "finding", "fieldset.finding", "fieldset.finding"
    yield "review", "[aria-labelledby=to-review]", "#keys"
    page.set_viewport_size(SMALL)
    page.goto(page.locator(".looks a").first.get_attribute("href"))
    page.locator(".viewer-window").filter(has_text=re.compile(r"\d")).wait_for()
    yield "viewer", "figure.viewer", "figure.viewer"


def _let_wait(system: System) -> str:
    """The id of a job in a queue that is paused: the whole cohort once more."""
    system.http.post("/api/v1/queues/background/pause", json={"reason": REASON}).raise_for_status()
    largest = max(system.pages("/api/v1/jobs", kind="inference"), key=lambda job: job["counts"]["done"])
    wanted = {"jobs": [largest["id"]], "model": MODEL, "priority": "background", "force": True, "label": "again"}
    made: str = system.http.post("/api/v1/jobs", json=wanted).raise_for_status().json()["id"]
    return made


def _unsigned(system: System) -> str:
    """The id of a report of one image that waits for its signature and says positive."""
    found = system.pages("/api/v1/reports", status="preliminary", model=MODEL)
    single = (one for one in found if one["completeness"]["predicted"] == one["completeness"]["instances"] == 1)
    return next(str(one["id"]) for one in single if any(finding["decision"] for finding in one["findings"]))


def _take(page: Any, path: Path, first: str, last: str) -> None:
    """From the top of one part to the end of another, in few colours."""
    top, end = page.locator(first).first.bounding_box(), page.locator(last).first.bounding_box()
    left, right = min(top["x"], end["x"]), max(top["x"] + top["width"], end["x"] + end["width"])
    box = {"x": left, "y": top["y"], "width": right - left, "height": end["y"] + end["height"] - top["y"]}
    scrolled = page.evaluate("scrollY")
    page.screenshot(path=path, full_page=True, clip=box | {"y": box["y"] + scrolled})
    with Image.open(path) as image:
        image.convert("RGB").quantize().save(path, optimize=True)
