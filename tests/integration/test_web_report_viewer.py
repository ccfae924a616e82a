"""In a real browser: the images of a report beside its findings, with the mouse, and with the keys of a review."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from shared.db import reading
from shared.models import Instance, ModelVersion
from shared.repositories.heat_maps import InstanceMaps, NewHeatMap, add_heat_maps
from shared.states import MapMethod
from shared.unit_of_work import UnitOfWork
from tests.cohorts import zipped
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.factories import new_sha256
from tests.integration.test_job_to_report import ZIP
from tests.reviews import aggregate, model, person, physician, predict_again, say
from tests.screens import DESK, PHONE, overflows, served, violations, window
from tests.slice_samples import brighter_slices

SLICES, SIDE = 30, 32
MIDDLE = "[...document.querySelector('canvas').getContext('2d').getImageData(200, 200, 1, 1).data].slice(0, 3).join()"
OF, PLACE, WINDOW = ".viewer-of", "span.viewer-place", "span.viewer-window"


@pytest.fixture
def report(api: Api) -> str:
    """Of a series of slices: an effusion, with a heat map on its first image, and neither mass nor nodule."""
    files = brighter_slices("r", SLICES, side=SIDE, step=5)
    assert api.post("/api/v1/uploads", data=zipped(files), **ZIP).status_code == 201
    version = model(api.prepared)
    predict_again(api.prepared, version, (0.9, 0.2, 0.3))
    with UnitOfWork(api.prepared.engine) as uow:
        first = uow.session.scalars(select(Instance).order_by(Instance.sop_instance_uid).limit(1)).one()
        maps = [NewHeatMap(1, 0, MapMethod.GRAD_CAM, position=0)]
        found = InstanceMaps(first.blob_sha256, maps, maps_sha256=new_sha256(), size_bytes=100, shape=(4, 4))
        add_heat_maps(uow.session, [found], uow.session.get_one(ModelVersion, version).digest, 0)
    return aggregate(api.prepared)


@pytest.fixture
def url(api: Api, report: str) -> Iterator[str]:
    with served(api.app) as found:
        yield found


@pytest.fixture
def page(browser: Any, url: str, api: Api, report: str, request: Any) -> Iterator[Any]:
    """A physician's, at the report; as wide as a desk unless told otherwise."""
    token = person(api, "dr.a", "physician")["Authorization"].removeprefix("Bearer ")
    red = io.BytesIO()
    Image.new("RGB", (512, 512 + 18), (200, 0, 0)).save(red, "PNG")
    with window(browser, url, token, viewport=getattr(request, "param", DESK)) as page:
        page.route("**/heat-maps/*.png", lambda route: route.fulfill(body=red.getvalue(), content_type="image/png"))
        page.asked = []
        page.on("request", lambda sent: page.asked.append(sent.url))
        page.goto(f"/reports/{report}")
        page.wait_for_function(f"() => {MIDDLE}.startsWith('1')")
        yield page


def place_of(api: Api, number: int) -> str:
    """As the viewer says it, of the images by Instance UID as evidence has them."""
    with reading(api.prepared.engine) as session:
        uids = sorted(session.scalars(select(Instance.sop_instance_uid)))
    at = [make_uid(f"r{one}") for one in range(SLICES)].index(uids[number])
    return f"image {at + 1} of {SLICES}"


def says(page: Any, selector: str, text: str) -> None:
    page.wait_for_function("([one, text]) => document.querySelector(one).textContent === text", arg=[selector, text])


@pytest.mark.parametrize("page", [DESK, PHONE], ids=["desk", "phone"], indirect=True)
def test_report_shows_the_image_that_is_chosen_and_loads_few(page: Any, api: Api) -> None:
    says(page, OF, "Effusion, Image 1, frame 1")
    says(page, PLACE, place_of(api, 0))
    assert page.is_enabled(".viewer-heat")
    page.wait_for_load_state("networkidle")
    # Seven small ones, and of the series that of the viewer with two on either side.
    assert len([one for one in page.asked if "/rendered" in one]) <= 12
    page.locator(".looks a").nth(1).click()

    says(page, OF, "Effusion, Image 2, frame 1")
    says(page, PLACE, place_of(api, 1))
    assert page.locator(".looks a[aria-current=true] img").get_attribute("alt") == "Effusion, Image 2, frame 1"
    assert page.evaluate("document.activeElement.tagName") == "CANVAS", "so the wheel goes through the series"
    assert page.is_disabled(".viewer-heat"), "of this one there is none"
    assert page.url.count("/reports/") == 1
    assert violations(page) == []
    assert not overflows(page)


def test_keys_of_the_review_and_of_the_viewer_go_together(page: Any, api: Api) -> None:
    box = page.locator(".viewer-heat")
    for key in ("j", "v"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    page.keyboard.press("Home")
    says(page, PLACE, f"image 1 of {SLICES}")
    page.keyboard.press("ArrowDown")
    says(page, PLACE, f"image 2 of {SLICES}")
    page.keyboard.press("Shift+ArrowRight")
    says(page, WINDOW, "centre 128, width 268.8")
    page.keyboard.press("d")
    assert page.is_checked("[name='verdict.effusion'][value=disagree]"), "one says so with the image in hand"
    page.keyboard.press("Escape")
    says(page, WINDOW, "centre 128, width 256")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "finding-0"
    page.locator(".looks a").first.press("Enter")
    says(page, PLACE, place_of(api, 0))
    page.keyboard.press("h")
    assert not box.is_checked()
    page.keyboard.press("h")
    assert box.is_checked()
    page.keyboard.press("j")
    says(page, OF, "Mass, Image 1, frame 1")
    says(page, PLACE, place_of(api, 0))
    page.keyboard.press("n")
    page.keyboard.type("vhd")
    assert page.input_value("[name='note.mass']") == "vhd"
    assert page.is_checked("[name='verdict.effusion'][value=disagree]")
    assert not page.locator("[name='verdict.mass']:checked").count()
    page.once("dialog", lambda dialog: dialog.accept())
    for key in ("Escape", "a", "j", "u", "s", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/reports/*after=*")


def test_heat_map_is_of_the_finding_that_is_looked_at(page: Any) -> None:
    page.locator(".viewer-fade").fill("100")
    page.wait_for_function(f"() => {MIDDLE} === '200,0,0'")
    page.locator(".viewer-fade").focus()
    page.keyboard.press("d")
    assert page.evaluate("document.activeElement.id") == "finding-0", "nothing is said before one knows of which"
    assert not page.locator(":checked[type=radio]").count()
    page.keyboard.press("j")
    page.wait_for_function(f"() => {MIDDLE} !== '200,0,0'")
    assert page.is_disabled(".viewer-fade")
    page.keyboard.press("k")
    page.wait_for_function(f"() => {MIDDLE} === '200,0,0'")


def test_image_stays_where_it_is_while_the_page_keeps_up(page: Any, api: Api, report: str) -> None:
    page.locator(".viewer-at").fill(str(SLICES))
    says(page, PLACE, f"image {SLICES} of {SLICES}")
    say(api, physician(api, "dr.b"), report, comment="seen")
    page.locator("#standing", has_text="A newer version is there").wait_for(timeout=30_000)

    says(page, PLACE, f"image {SLICES} of {SLICES}")
    assert page.locator("#standing a").count() == 1
