"""Models, a version, training runs and datasets as pages: what they show, and who may choose what serves."""

import pytest

from shared.unit_of_work import UnitOfWork
from tests.browsing import Browser, browser_of
from tests.conftest import Api
from tests.factories import MODEL, add_model
from tests.web_models import REASON, judged, prove

SECOND = f"/models/{MODEL}/2"


def serving(api: Api) -> list[int]:
    listed = api.get("/api/v1/models").json["items"]
    return [one["version"] for one in listed if one["state"] == "champion"]


def test_models_are_listed_with_their_versions(any_api: Api) -> None:
    judged(any_api.prepared, REASON)
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session, "other", description="<b>bold</b>")

    page = browser_of(any_api, "read").get("/models").text

    assert (page.count("<h2>"), page.count("<tbody>")) == (2, 2)
    assert page.index(f'href="{SECOND}"') < page.index(f'href="/models/{MODEL}/1"'), "the newest first"
    assert 'state held">held' in page
    assert page.count('state champion">champion') == 2
    assert "&lt;b&gt;bold" in page


def test_version_shows_what_the_gate_measured_and_why_it_held(any_api: Api) -> None:
    judged(any_api.prepared, REASON)

    page = browser_of(any_api, "read").get(SECOND).text

    assert REASON.replace("'", "&#39;") in page
    assert "100 patients of the holdout, 7 of them for the first time; it was used 2 times before" in page
    assert "+0.0100" in page
    assert "-0.0200 … +0.0400" in page
    assert "– … –" in page, "what the patients do not tell is no figure"
    assert page.count("<figure") == 2
    assert page.count('class="chance"') == 2
    # Of ROC and reliability both versions', and the keys below.
    assert page.count("<polyline") == 8
    assert "sex F" in page
    assert f'href="/api/v1/models/{MODEL}/versions/2/card.html"' in page
    assert "No gate has judged this version" in browser_of(any_api, "read").get(f"/models/{MODEL}/1").text


def test_version_leads_to_the_training_job_that_made_it(any_api: Api) -> None:
    job_id = judged(any_api.prepared)
    browser = browser_of(any_api, "read")

    assert f'<a href="/jobs/{job_id}">' in browser.get(SECOND).text
    assert "/jobs/0" not in browser.get(f"/models/{MODEL}/1").text, "it was added from outside"
    assert any_api.get(f"/api/v1/models/{MODEL}/versions/2/card").json["job"] == str(job_id)


def test_version_shows_what_its_engines_were_proved_to_do(any_api: Api) -> None:
    judged(any_api.prepared)
    browser = browser_of(any_api, "read")
    assert "No worker has looked at it yet" in browser.get(SECOND).text

    prove(any_api.prepared, 2)
    page = browser.get(SECOND).text

    assert "Intel Xeon, AVX-512" in page
    assert page.index("1 at once") < page.index("32 at once")
    for said in ("serves</span>", "2.4e-07", ">900<", "too far off", "the reference"):
        assert said in page
    assert "Prove again" not in page
    operator = browser_of(any_api, "read", "operate")
    operator.submit(f"{SECOND}/engines", on=SECOND)
    assert "The proof waits" in operator.get(SECOND).text


def test_person_promotes_what_passed_and_takes_it_back(any_api: Api) -> None:
    judged(any_api.prepared)
    browser = browser_of(any_api, "read", "operate")
    assert f'action="{SECOND}/promote"' in browser.get(SECOND).text
    assert "/rollback" not in browser.get(f"/models/{MODEL}/1").text, "nothing served before it"

    browser.submit(f"{SECOND}/promote", on=SECOND, reason="sees <small> ones")
    assert serving(any_api) == [2]
    page = browser.get(SECOND).text
    assert "sees &lt;small&gt; ones" in page
    assert f'action="{SECOND}/promote"' not in page
    assert "data-confirm" in page
    back = browser.submit(f"{SECOND}/rollback", on=SECOND, reason="misses some")

    assert back.headers["Location"] == f"/models/{MODEL}/1"
    assert serving(any_api) == [1]
    assert "rolled back to, by Ann" in browser.get(f"/models/{MODEL}/1").text


def test_version_that_the_gate_promoted_names_nobody(any_api: Api) -> None:
    judged(any_api.prepared, promotes=True)

    told = any_api.get(f"/api/v1/models/{MODEL}/promotions").json["items"]

    assert [(one["by_gate"], one["by"] is None) for one in told] == [(True, True), (False, False)]
    assert "promoted, by the gate" in browser_of(any_api, "read").get(SECOND).text


@pytest.mark.parametrize("act", ["promote", "rollback", "engines"])
def test_reader_changes_nothing(any_api: Api, act: str) -> None:
    judged(any_api.prepared)
    reader = browser_of(any_api, "read")

    assert "<button>Promote" not in reader.get(SECOND).text
    assert f"{SECOND}/" not in reader.get(SECOND).text
    reader.submit(f"{SECOND}/{act}", on=SECOND, status=403)

    assert serving(any_api) == [1]


def test_training_shows_how_far_it_is_and_how_well_it_learns(any_api: Api) -> None:
    job_id = judged(any_api.prepared, REASON)

    page = browser_of(any_api, "read").get(f"/jobs/{job_id}").text

    for said in (
        "3 of 5",
        "90 / 150",
        "1 min",
        "epoch 3, val loss 0.3333",
        "AUC 0.7500",
        "learning_rate",
        "shift: 0.05",
    ):
        assert said in page, said
    assert f'href="{SECOND}"' in page
    assert 'href="/datasets/' in page
    assert REASON.replace("'", "&#39;") in page
    assert page.count("<figure") == 2, "losses, and AUC on val"
    assert "<dd>training</dd>" in page, "its kind; the lane of that name is not said again"
    assert 'class="nothing">No image' not in page


def test_datasets_are_listed_and_shown_by_split(any_api: Api) -> None:
    judged(any_api.prepared)
    (dataset,) = any_api.get("/api/v1/datasets").json["items"]
    reader = browser_of(any_api, "read")

    listed, shown = reader.get("/datasets").text, reader.get(f"/datasets/{dataset['digest']}").text

    assert f'href="/datasets/{dataset["digest"]}"' in listed
    assert "<b>12</b> lesion" in listed
    assert "of 20 patients" in listed
    assert "There is no snapshot" in reader.get("/datasets?model=other").text
    assert "it has no pixels" in shown
    assert "Siemens" in shown
    assert "/instances" not in shown, "the list names patients' images: for operators"
    assert "/instances" in browser_of(any_api, "read", "operate").get(f"/datasets/{dataset['digest']}").text
    reader.get("/datasets/zzzz", 404)


def test_model_that_is_not_there_is_a_problem_in_words(api: Api) -> None:
    page = Browser(api, api.prepared.token).get("/models/a%2Fb/1", 404)
    assert page.status_code == 404
    assert 'role="alert"' in Browser(api, api.prepared.token).get("/models/none/1", 404).text


def test_gate_decisions_are_listed_page_by_page(any_api: Api) -> None:
    judged(any_api.prepared, REASON)
    judged(any_api.prepared)

    first = any_api.get("/api/v1/gate-decisions?limit=1").json
    second = any_api.get(f"/api/v1/gate-decisions?limit=1&cursor={first['next']}").json

    told = [(one["model"], one["version"], one["outcome"], one["reasons"]) for one in first["items"] + second["items"]]
    assert told == [(MODEL, 4, "passed", []), (MODEL, 2, "held", [REASON])]
    assert second["next"] is None
