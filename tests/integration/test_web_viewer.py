"""The viewer in a real browser: it shows, scrolls, windows and fades, and asks for no more than it shows."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api import web
from api.dicomweb.renderer import Picture, Renderer
from api.dicomweb.rendering import Wanted
from api.pictures import STRIP
from tests.browsing import Browser
from tests.cohorts import zipped
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.integration.test_job_to_report import ZIP
from tests.screens import served, window
from tests.slice_samples import brighter_slices

STUDY, SERIES = make_uid("study"), make_uid("series")
SIDE, SLICES, RED = 64, 12, (200, 0, 0)
MIDDLE = "([...document.querySelector('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]).slice(0, 3)"
PLACE, WINDOW = "span.viewer-place", "span.viewer-window"


def path(number: int) -> str:
    return f"/images/{STUDY}/{SERIES}/{make_uid(f's{number}')}"


@pytest.fixture
def sent(api: Api) -> Api:
    """Slices that are brighter the higher they lie."""
    files = brighter_slices("s", SLICES, side=SIDE, step=20)
    assert api.post("/api/v1/uploads", data=zipped(files), **ZIP).status_code == 201
    return api


def test_page_holds_a_viewer_and_works_without_a_script(sent: Api) -> None:
    browser = Browser(sent, sent.prepared.token)

    page = browser.get(f"{path(3)}?frame=1&heat=7").text

    assert 'data-frame="1" data-heat="7"' in page
    assert '<img src="/api/v1/heat-maps/7.png"' in page.partition("<noscript>")[2]
    assert " style=" not in page
    found = re.search(r'<noscript><img src="([^"]+)"', page)
    assert found is not None
    assert browser.get(found[1]).content_type == "image/jpeg"
    assert 'data-place="image {at} of {all}"' in page
    assert "viewer-heat" not in browser.get(path(3)).text
    browser.get(f"/images/{STUDY}/{SERIES}/1.2.3", 404)


def test_viewer_knows_where_a_heat_maps_words_begin() -> None:
    script = Path(str(web.__file__)).parent / "static" / "viewer.js"

    assert f"const STRIP_PX = {STRIP};" in script.read_text()


@pytest.fixture
def address(sent: Api) -> Iterator[str]:
    with served(sent.app) as found:
        yield found


@pytest.fixture
def page(browser: Any, address: str, sent: Api) -> Iterator[Any]:
    """A browser's page, logged in; what a script or the policy complains of fails the test, a told refusal does not."""
    faults: list[str] = []
    with window(browser, address, sent.prepared.token, viewport={"width": 800, "height": 900}) as page:
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        yield page
    assert [one for one in faults if "422" not in one] == []


def grey(page: Any, x: int = 300, y: int = 300) -> Any:
    return page.evaluate(MIDDLE.format(x=x, y=y))


def says(page: Any, selector: str, text: str) -> None:
    page.wait_for_function(
        "([where, text]) => document.querySelector(where).textContent === text", arg=[selector, text]
    )


def near(found: Any, expected: Any) -> bool:
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= 2)


def test_stack_is_scrolled_by_keys_and_by_the_wheel_of_who_clicked(page: Any) -> None:
    page.goto(path(3))
    says(page, PLACE, "image 4 of 12")
    assert near(grey(page), 60)
    canvas = page.locator("canvas")

    canvas.hover()
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(200)
    says(page, PLACE, "image 4 of 12")
    canvas.focus()
    for key, place in (("ArrowDown", 5), ("PageDown", 12), ("Home", 1), ("ArrowUp", 1), ("End", 12), ("PageUp", 2)):
        page.keyboard.press(key)
        says(page, PLACE, f"image {place} of 12")
    page.mouse.wheel(0, 120)
    says(page, PLACE, "image 4 of 12")

    assert near(grey(page), 60)
    assert canvas.get_attribute("aria-valuetext") == "image 4 of 12"


def test_drag_changes_the_window_with_few_requests_and_a_double_click_brings_it_back(page: Any) -> None:
    page.goto(path(3))
    says(page, WINDOW, "centre 128, width 256")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "&window=" in request.url else None)
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - box["width"] / 8, steps=200)
    page.mouse.up()
    says(page, WINDOW, "centre 64, width 256")
    page.wait_for_function(f"() => Math.abs({MIDDLE.format(x=300, y=300)}[0] - 124) <= 3")

    # Two neighbours on either side are loaded ahead.
    assert len([url for url in asked if make_uid("s3") in url]) < 150
    page.keyboard.press("ArrowDown")
    says(page, PLACE, "image 5 of 12")
    assert near(grey(page), 144), "the chosen window stays"
    page.mouse.dblclick(x, y)
    says(page, WINDOW, "centre 128, width 256")
    page.wait_for_function(f"() => Math.abs({MIDDLE.format(x=300, y=300)}[0] - 80) <= 2")
    page.keyboard.press("Shift+ArrowRight")
    says(page, WINDOW, "centre 128, width 268.8")


def test_picture_that_the_browser_has_is_not_asked_for_again(page: Any, sent: Api, monkeypatch: Any) -> None:
    asked = []

    def counted(self: Renderer, wanted: Wanted) -> Picture:
        asked.append(wanted)
        return really(self, wanted)

    really = Renderer.picture
    monkeypatch.setattr(Renderer, "picture", counted)

    page.goto(path(3))
    says(page, PLACE, "image 4 of 12")
    page.wait_for_load_state("networkidle")
    page.goto(path(5))
    says(page, PLACE, "image 6 of 12")
    page.wait_for_load_state("networkidle")

    assert len(asked) == len(set(asked)) == 7, "two neighbours on either side, three of them known"


def test_heat_map_fades_in_over_the_frame_that_it_belongs_to_only(page: Any) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (512, 512 + 18), RED).save(picture, "PNG")
    page.route("**/heat-maps/7.png", lambda route: route.fulfill(body=picture.getvalue(), content_type="image/png"))
    page.goto(f"{path(3)}?heat=7")
    says(page, PLACE, "image 4 of 12")
    page.wait_for_function(f"() => {MIDDLE.format(x=300, y=300)}[0] > 130")

    page.locator("input.viewer-fade").fill("100")
    page.wait_for_function(f"() => {MIDDLE.format(x=300, y=300)}[0] > 190")
    assert near(grey(page), RED)
    page.locator("input.viewer-fade").fill("50")
    page.wait_for_function(f"() => {MIDDLE.format(x=300, y=300)}[0] < 140")
    assert near(grey(page), (130, 30, 30))
    page.locator("canvas").focus()
    page.keyboard.press("ArrowDown")
    says(page, PLACE, "image 5 of 12")
    assert near(grey(page), 80)
    assert page.locator("input.viewer-heat").is_disabled()
    page.keyboard.press("ArrowUp")
    says(page, PLACE, "image 4 of 12")
    page.locator("input.viewer-heat").uncheck()
    assert near(grey(page), 60)


def test_viewer_tells_what_cannot_be_shown_and_goes_on(page: Any, sent: Api) -> None:
    broken = make_uid("s4")
    page.route(
        f"**/{broken}/frames/**",
        lambda route: route.fulfill(status=422, json={"detail": "It is damaged.", "reason": "decode_failed"}),
    )
    page.goto(path(4))
    page.wait_for_selector("p.viewer-fault:visible")

    said = "This image cannot be shown. The pixel data cannot be decoded. It is damaged."
    assert page.locator("p.viewer-fault").text_content() == said
    says(page, PLACE, "image 5 of 12")
    page.locator("canvas").focus()
    page.keyboard.press("ArrowUp")
    says(page, PLACE, "image 4 of 12")
    assert near(grey(page), 60)
    assert page.locator("p.viewer-fault").is_hidden()
