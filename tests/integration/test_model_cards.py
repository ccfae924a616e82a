"""The card of a version says what is on record of it, and what is not."""

import pytest

from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import MODEL, add_model

CARD = f"/api/v1/models/{MODEL}/versions/1/card"


def test_card_of_a_version_from_outside_says_what_nobody_knows(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)

    card = any_api.get(CARD).json

    assert (card["model"]["version"], card["origin_known"], card["training"], card["gate"]) == (1, False, None, None)
    assert [one["kind"] for one in card["promotions"]] == ["first"]
    said = " ".join(card["limits"])
    assert "preliminary until a physician" in said
    assert "not on record here" in said
    assert "how good it is, is not known" in said


def test_page_obeys_nothing_that_a_package_says(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session, description="<script>alert(1)</script>", intended_use="'\"><img src=x>")

    page = any_api.get(f"{CARD}.html")
    by_accept = any_api.get(CARD, headers={"Accept": "text/html"})

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;" in page.text
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert by_accept.text == page.text


@pytest.mark.parametrize("path", [CARD, f"{CARD}.html"])
def test_version_that_is_not_there_has_no_card(api: Api, path: str) -> None:
    assert api.get(path).status_code == 404
