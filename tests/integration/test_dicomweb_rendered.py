"""Stored instances as pictures and as the list of their series, over the API, on each kind of database."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.dicomweb import renderer, rendering
from api.dicomweb.renderer import PictureCache, Renderer
from api.services import EXTENSION
from shared.config import Settings
from tests.cohorts import zipped
from tests.conftest import Api
from tests.dicom_samples import compressed_bytes, dicom_bytes, make_uid, noise
from tests.integration.test_job_to_report import ZIP
from tests.slice_samples import ct_slice, enhanced_ct

STUDIES = "/dicomweb/studies"
STUDY, SERIES, ONE = make_uid("study"), make_uid("series"), make_uid("one")
IN_SERIES = f"{STUDIES}/{STUDY}/series/{SERIES}"
INSTANCE = f"{IN_SERIES}/instances/{ONE}"
PIXELS = np.tile(np.arange(0, 2000, 50, dtype=np.uint16), (30, 1))
PROBLEM = "application/problem+json"
UID, NUMBER = "00080018", "00200013"


def send(api: Api, *files: bytes) -> None:
    answer = api.post("/api/v1/uploads", data=zipped([(f"{n}.dcm", one) for n, one in enumerate(files)]), **ZIP)
    assert answer.status_code == 201, answer.text


def pixels(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.data)) as image:
        return np.asarray(image, np.int64)


def listed(api: Api, query: str = "", tag: str = UID) -> list[Any]:
    return [one[tag]["Value"][0] for one in api.get(f"{IN_SERIES}/instances{query}").json]


@pytest.fixture(scope="module")
def children() -> Iterator[Renderer]:
    """One for all tests: a child takes a second to start."""
    made = Renderer(Settings())
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _own_cache(any_api: Api, children: Renderer) -> None:
    children._kept = PictureCache()
    any_api.app.extensions[EXTENSION] = replace(any_api.app.extensions[EXTENSION], renderer=children)


@pytest.fixture
def stored(any_api: Api) -> Api:
    send(any_api, dicom_bytes(PIXELS, SOPInstanceUID=ONE, WindowCenter=1000, WindowWidth=500))
    return any_api


def test_frame_comes_as_what_accept_prefers_and_in_the_window_that_is_asked_for(stored: Api) -> None:
    usual, png = stored.get(f"{INSTANCE}/rendered"), {"Accept": "image/png"}
    browser = stored.get(f"{INSTANCE}/rendered", headers={"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"})
    exact = stored.get(f"{INSTANCE}/frames/1/rendered?window=500,1000,LINEAR_EXACT&quality=90", headers=png)

    assert (usual.content_type, browser.content_type, exact.content_type) == ("image/jpeg", "image/jpeg", "image/png")
    assert (usual.headers["Overread-Window"], usual.headers["X-Content-Type-Options"]) == (
        "1000.0,500.0,LINEAR",
        "nosniff",
    )
    assert exact.headers["Overread-Window"] == "500.0,1000.0,LINEAR_EXACT"
    assert np.abs(pixels(exact) - np.clip(PIXELS * 0.255, 0, 255)).max() <= 1
    assert pixels(stored.get(f"{INSTANCE}/rendered?viewport=400,400")).shape == (300, 400)
    assert stored.get(f"{INSTANCE}/rendered", headers={"Accept": "text/html, image/gif"}).status_code == 406


@pytest.mark.parametrize(
    "query",
    ["window=1,2", "window=nan,1,LINEAR", "viewport=5000,5000", "viewport=10,10,0,0,41,30", "window=" + "1" * 300],
)
def test_bad_parameter_is_told_with_what_was_expected(stored: Api, query: str) -> None:
    refused = stored.get(f"{INSTANCE}/rendered?{query}")

    assert (refused.status_code, refused.content_type) == (422, PROBLEM)
    assert refused.json["errors"][0]["pointer"] == "/" + query.partition("=")[0]


def test_what_is_not_there_is_not_found(stored: Api) -> None:
    elsewhere = f"{STUDIES}/{STUDY}/series/{make_uid('other')}"
    paths = [
        f"{elsewhere}/instances/{ONE}/rendered",
        f"{IN_SERIES}/instances/1.2.3/rendered",
        f"{INSTANCE}/frames/0/rendered",
        f"{INSTANCE}/frames/2/rendered",
        f"{INSTANCE}/frames/{10**30}/rendered",
        f"{elsewhere}/instances",
        f"{elsewhere}/thumbnail",
        f"{IN_SERIES}/instances/1.2.3/thumbnail",
        f"{IN_SERIES}/instances?SOPInstanceUID=1.2.3",
        f"{STUDIES}/1.2.3/thumbnail",
    ]

    for path in paths:
        answer = stored.get(path)
        assert (answer.status_code, answer.content_type) == (404, PROBLEM), path


def test_pictures_take_the_scope_read(stored: Api) -> None:
    token = stored.post("/api/v1/tokens", json={"principal": "sender", "scopes": ["submit"]}).json["token"]
    paths = [f"{INSTANCE}/rendered", f"{INSTANCE}/frames/1/rendered", f"{INSTANCE}/thumbnail"]
    paths += [f"{IN_SERIES}/thumbnail", f"{STUDIES}/{STUDY}/thumbnail", f"{IN_SERIES}/instances"]

    for path in paths:
        assert stored.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 403
        assert stored.app.test_client().get(path).status_code == 401


def test_picture_is_made_once_and_not_sent_to_who_has_it(stored: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(self: Renderer, wanted: rendering.Wanted) -> renderer.Picture:
        made.append(wanted)
        return really(self, wanted)

    really = Renderer._make
    monkeypatch.setattr(Renderer, "_make", counted)
    path = f"{INSTANCE}/rendered?window=900,800,SIGMOID"

    first, second = stored.get(path), stored.get(path)
    again = stored.get(path, headers={"If-None-Match": first.headers["ETag"]})
    other = stored.get(f"{INSTANCE}/rendered", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.data, first.headers["ETag"]) == (second.data, second.headers["ETag"])
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert "private" in first.headers["Cache-Control"]
    assert (other.status_code, len(made)) == (200, 2)
    # Who has a picture gets its 304 from a server that knows nothing of it, without a look at any pixel.
    stored.app.extensions[EXTENSION] = replace(stored.app.extensions[EXTENSION], renderer=None)
    assert stored.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_thumbnail_is_small_and_of_the_middle(any_api: Api) -> None:
    levels = [ct_slice(f"s{n}", 5.0 * n, InstanceNumber=9 - n, Rows=30, Columns=60, **flat(n)) for n in range(3)]
    send(any_api, *levels, dicom_bytes(PixelData=None, SOPInstanceUID=make_uid("report"), Modality="SR"))

    for path in (f"{IN_SERIES}/thumbnail", f"{STUDIES}/{STUDY}/thumbnail", f"{IN_SERIES}/instances/{uid(1)}/thumbnail"):
        shown = pixels(any_api.get(path, headers={"Accept": "image/png"}))
        assert shown.shape == (64, 128)
        assert abs(shown[32, 64] - 100) <= 1, path


def flat(number: int) -> dict[str, Any]:
    pixels = np.full((30, 60), 100 * number, np.uint16)
    return {"PixelData": pixels.tobytes(), "WindowCenter": 128, "WindowWidth": 256, "VOILUTFunction": "LINEAR_EXACT"}


def uid(number: int) -> str:
    return make_uid(f"s{number}")


def test_thumbnail_names_nobody_where_the_file_says_that_text_is_burnt_in(any_api: Api) -> None:
    send(any_api, dicom_bytes(PIXELS, SOPInstanceUID=ONE, BurnedInAnnotation="YES"))

    refused = any_api.get(f"{INSTANCE}/thumbnail")

    assert (refused.status_code, refused.content_type) == (404, PROBLEM)
    assert "burnt into its pixels" in refused.json["detail"]
    assert any_api.get(f"{STUDIES}/{STUDY}/thumbnail").status_code == 404
    assert any_api.get(f"{INSTANCE}/rendered").status_code == 200


def test_series_is_listed_as_it_lies_in_the_patient(any_api: Api) -> None:
    send(any_api, *(ct_slice(f"s{n}", 5.0 * n, InstanceNumber=9 - n) for n in (2, 0, 1, 3)), enhanced_ct("e", [1, 2]))
    answer = any_api.get(f"{IN_SERIES}/instances")

    assert answer.content_type == "application/dicom+json"
    assert listed(any_api) == [uid(0), uid(1), uid(2), uid(3), make_uid("e")]
    assert listed(any_api, tag="00280008") == [1, 1, 1, 1, 2]
    assert answer.json[1] | {"00080016": None} == {
        "00080016": None,
        UID: {"vr": "UI", "Value": [uid(1)]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "0020000E": {"vr": "UI", "Value": [SERIES]},
        NUMBER: {"vr": "IS", "Value": [8]},
        "00280008": {"vr": "IS", "Value": [1]},
        "00280010": {"vr": "US", "Value": [12]},
        "00280011": {"vr": "US", "Value": [16]},
        "00280100": {"vr": "US", "Value": [16]},
    }
    assert listed(any_api, "?limit=2&offset=1") == [uid(1), uid(2)]
    assert listed(any_api, f"?SOPInstanceUID={uid(3)}") == [uid(3)]
    assert "2 additional results" in any_api.get(f"{IN_SERIES}/instances?limit=2&offset=1").headers["Warning"]
    assert "Warning" not in answer.headers
    assert any_api.get(f"{IN_SERIES}/instances?limit=0").status_code == 422
    assert any_api.get(f"{IN_SERIES}/instances", headers={"Accept": "text/html"}).status_code == 406


def test_series_without_planes_is_listed_by_number_and_each_instance_once(any_api: Api) -> None:
    named = [(make_uid("b"), 2), (make_uid("a"), 10), (make_uid("c"), 1)]
    send(any_api, *(dicom_bytes(SOPInstanceUID=uid, InstanceNumber=number) for uid, number in named))
    send(any_api, dicom_bytes(PIXELS, SOPInstanceUID=named[0][0], InstanceNumber=3))

    assert listed(any_api, tag=NUMBER) == [1, 2, 10]
    first = any_api.get(f"{IN_SERIES}/instances/{named[0][0]}/rendered")
    assert pixels(first).shape == (12, 16), "of two files of one UID, the first that came"


def test_multi_frame_instance_shows_each_frame(any_api: Api) -> None:
    levels = np.stack([np.full((4, 4), level, np.uint8) for level in (10, 200)])
    send(any_api, dicom_bytes(levels, SOPInstanceUID=ONE, WindowCenter=128, WindowWidth=256))

    shown = [pixels(any_api.get(f"{INSTANCE}/{at}rendered"))[0, 0] for at in ("", "frames/1/", "frames/2/")]

    np.testing.assert_allclose(shown, [10, 10, 200], atol=2)


def test_file_that_cannot_be_decoded_is_told_and_the_next_one_is_shown(any_api: Api) -> None:
    broken = compressed_bytes(b"\xff\x4f\xff\x51" + noise(2000), "1.2.840.10008.1.2.4.90", SOPInstanceUID=uid(0))
    send(any_api, broken, dicom_bytes(PIXELS, SOPInstanceUID=ONE), dicom_bytes(PixelData=None, SOPInstanceUID=uid(1)))

    for number in (0, 1):
        refused = any_api.get(f"{IN_SERIES}/instances/{uid(number)}/rendered")
        assert (refused.status_code, refused.content_type) == (422, PROBLEM)
    assert any_api.get(f"{INSTANCE}/rendered").status_code == 200


def test_file_that_kills_its_decoder_is_told_and_the_next_one_is_shown(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "TARGET", "tests.sandbox_targets:render_or_crash")
    own = Renderer(any_api.prepared.settings)
    any_api.app.extensions[EXTENSION] = replace(any_api.app.extensions[EXTENSION], renderer=own)
    send(any_api, dicom_bytes(np.zeros((2, 8, 8), np.uint8), SOPInstanceUID=ONE))

    killed = any_api.get(f"{INSTANCE}/frames/2/rendered")
    after = any_api.get(f"{INSTANCE}/frames/1/rendered")
    own.close()

    assert (killed.status_code, killed.content_type) == (422, PROBLEM)
    assert killed.json["reason"] == "decode_crashed"
    assert after.status_code == 200


def test_bytes_that_are_gone_are_told(stored: Api) -> None:
    store = stored.app.extensions[EXTENSION].store
    (blob,) = [path for path in store.root.glob("blobs/*/*") if b"DICM" in path.read_bytes()[:132]]
    blob.unlink()

    for path in ("rendered", "thumbnail"):
        answer = stored.get(f"{INSTANCE}/{path}")
        assert (answer.status_code, "bytes are gone" in answer.json["detail"]) == (404, True)
