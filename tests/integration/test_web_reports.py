"""Reports as pages: found, read, reviewed, signed, amended and retracted by a browser without scripts."""

import re
from typing import Any

import pytest

from shared.repositories.heat_maps import InstanceMaps, NewHeatMap, add_heat_maps
from shared.states import MapMethod, NoMap
from shared.unit_of_work import UnitOfWork
from tests.browsing import Browser
from tests.conftest import Api
from tests.factories import add_instance, new_sha256
from tests.readings import REVIEW, newest_report, register_rules
from tests.readings import read as read_study
from tests.reviews import (
    CODES,
    NOTHING,
    REPORTS,
    aggregate,
    document,
    fail,
    model,
    person,
    physician,
    predict,
    reported,
    say,
    sign,
)

MIXED = (0.9, 0.2, 0.3)
DIGEST = re.compile(r'name="digest" value="([0-9a-f]{64})"')
AGREE = {f"verdict.{code}": "agree" for code in CODES}


def somebody(api: Api, name: str = "dr.a", *roles: str, scopes: tuple[str, ...] = ("review", "read")) -> Browser:
    return Browser(api, person(api, name, *roles, scopes=scopes)["Authorization"].removeprefix("Bearer "))


def doctor(api: Api, name: str = "dr.a") -> Browser:
    return somebody(api, name, "physician")


def send(
    browser: Browser, report_id: str, act: str = "review", *, status: int = 303, sign: str = "", **fields: str
) -> Any:
    """What is answered to the form of the report's page, with the content that the page had."""
    path = f"/reports/{report_id}"
    given = {"digest": "".join(DIGEST.findall(browser.get(path).text)[:1]), "act": sign} | fields
    return browser.submit(f"{path}/{act}", on=path, status=status, **given)


def made(answer: Any) -> str:
    """The id of the version that came of it."""
    return str(re.fullmatch(r"/reports/([0-9a-f-]+)\?after=[0-9a-f-]+", answer.headers["Location"])[1])  # type: ignore[index]


def newest(api: Api) -> str:
    """The id of the report that was made last, of whatever patient."""
    aggregate(api.prepared)
    return str(api.get(REPORTS).json["items"][0]["id"])


def versions(api: Api, report_id: str) -> list[tuple[str, str | None]]:
    return [(one["status"], one["by"]) for one in api.get(f"{REPORTS}/{report_id}/versions").json["items"]]


def test_reports_are_listed_and_found_by_status_and_patient(any_api: Api) -> None:
    version = model(any_api.prepared)
    predict(any_api.prepared, version, {"1.2.20260101": [MIXED]}, patient="P1")
    first = aggregate(any_api.prepared)
    predict(any_api.prepared, version, {"1.2.20260102": [NOTHING]}, patient="<b>P2</b>")
    second = newest(any_api)
    signed = sign(any_api, physician(any_api), first)["id"]
    browser = somebody(any_api, scopes=("read",))

    everything, unsigned = browser.get("/reports").text, browser.get("/reports?unsigned=true").text
    final, found = browser.get("/reports?status=final").text, browser.get("/reports?patient_id=P1").text

    assert f'href="/reports/{signed}"' in everything
    assert f'href="/reports/{first}"' not in everything, "a newer version is there"
    assert "Effusion</bdi> <span" in everything
    assert "&lt;b&gt;P2&lt;/b&gt;" in everything
    assert "<b>P2" not in everything
    assert (signed in unsigned, second in unsigned) == (False, True)
    assert (signed in final, second in final) == (True, False)
    assert (signed in found, second in found) == (True, False)
    assert "No report is like this." in browser.get("/reports?status=retracted").text


def test_report_shows_what_it_says_and_where_it_can_be_taken(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW)
    read_study(engine, version, "P1", 0.4)
    read_study(engine, version, "P1", 0.93, day="20260201")
    report = newest_report(engine)

    page = somebody(any_api, scopes=("read",)).get(f"/reports/{report.id}").text

    assert "Preliminary AI result" in page
    assert 'aria-label="0.930 against 0.500"' in page
    assert '<circle class="over"' in page, "the trend"
    assert "Suggested follow-up" in page
    assert "<h2>Changed since version 1</h2>" in page
    assert "0.400 against 0.500, negative" in page
    assert all(f"/api/v1/reports/{report.id}.{one}" in page for one in ("pdf", "sr.dcm", "r5.json", "json"))
    assert f"/api/v1/models/{report.model_name}/versions/1/card.html" in page
    assert "review.js" not in page, "who may only read has no form and no keys"
    assert 'type="radio"' not in page


def test_incomplete_report_says_what_is_left_out_and_why(any_api: Api) -> None:
    version = model(any_api.prepared)
    predict(any_api.prepared, version, {"1.2.20260101": [MIXED]})
    fail(any_api.prepared, version, "1.2.20260101")
    report_id = aggregate(any_api.prepared)
    browser = somebody(any_api)

    page = browser.get(f"/reports/{report_id}").text

    assert "Incomplete: 1 of 2 images" in page
    assert "Not counted" in page
    assert "incomplete: 1 of 2 images" in browser.get("/reports").text


def test_images_that_drove_a_finding_have_their_heat_maps_or_why_there_is_none(any_api: Api) -> None:
    first = reported(any_api.prepared, (0.9, 0.8, 0.3))
    report = any_api.get(f"{REPORTS}/{first}").json["document"]
    blob = report["findings"][0]["evidence"][0]["blob_sha256"]
    maps = [
        NewHeatMap(1, 0, MapMethod.GRAD_CAM, position=0),
        NewHeatMap(1, 1, MapMethod.GRAD_CAM, no_map=NoMap.FAILED),
    ]
    with UnitOfWork(any_api.prepared.engine) as uow:
        found = InstanceMaps(blob, maps, maps_sha256=new_sha256(), size_bytes=100, shape=(4, 4))
        add_heat_maps(uow.session, [found], report["model"]["digest"], 0)
    mapped = document(any_api, first)["findings"][0]["evidence"][0]["heat_map"]

    page = somebody(any_api).get(f"/reports/{first}").text

    assert f'<img src="{mapped["links"]["png"]}" alt="Heat map: where in frame 1' in page
    assert page.count("<canvas") == 1, "one viewer, whatever there is to look at"
    assert f'data-heat="{mapped["id"]}"' in page.partition('class="viewer"')[2].partition(">")[0]
    assert 'class="viewer-fade"' in page
    assert "No heat map: The engine failed" in page


def test_list_goes_on_where_it_ended(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.web.reports.PAGE", 1)
    version = model(any_api.prepared)
    predict(any_api.prepared, version, {"1.2.1.20260101": [MIXED]}, patient="P1")
    first = newest(any_api)
    predict(any_api.prepared, version, {"1.2.2.20260101": [MIXED]}, patient="P2")
    second = newest(any_api)
    browser = somebody(any_api)

    page = browser.get("/reports?unsigned=true").text
    rest = browser.get(f"/reports?unsigned=true&cursor={second}").text

    assert f'name="cursor" value="{second}"' in page
    assert '<input type="hidden" name="unsigned" value="true">' in page.partition('class="more"')[2]
    assert (first in page, first in rest) == (False, True)
    assert 'name="cursor"' not in rest


def test_name_of_a_patient_is_text_whatever_it_holds(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_instance(uow.session, patient_id="P1", patient_name="<script>alert(1)</script>")
    report_id = reported(any_api.prepared, MIXED)

    page = somebody(any_api).get(f"/reports/{report_id}").text

    assert "<h1><bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi></h1>" in page
    assert "<script>alert" not in page


def test_review_is_saved_unsigned_and_stands_in_the_fields_again(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    browser = somebody(any_api, "resident")
    fields = {"verdict.effusion": "disagree", "note.effusion": "an <i>artefact</i>", "comment": "look again"}

    second = made(send(browser, first, act="review", **fields))

    review = document(any_api, second)["review"]
    assert (review["reviewer"], review["comment"], review["signed"]) == ("resident", "look again", None)
    (verdict,) = review["verdicts"]
    assert (verdict["verdict"], verdict["value"], verdict["note"]) == ("disagree", False, "an <i>artefact</i>")
    mine, other = browser.get(f"/reports/{second}").text, doctor(any_api).get(f"/reports/{second}").text
    chosen = 'name="verdict.effusion" value="disagree" required checked'
    assert chosen in mine
    assert ">an &lt;i&gt;artefact&lt;/i&gt;</textarea>" in mine
    assert chosen not in other, "it is not what this reader said"
    assert "disagrees: absent" in other


def test_signature_makes_it_final_and_leads_to_the_next_unsigned_report(any_api: Api) -> None:
    version = model(any_api.prepared)
    ids = []
    for number in (1, 2, 3):
        predict(any_api.prepared, version, {f"1.2.{number}.20260101": [MIXED]}, patient=f"P{number}")
        ids.append(newest(any_api))
    browser = doctor(any_api)

    answer = send(browser, ids[1], sign="sign", **AGREE)

    assert versions(any_api, made(answer)) == [("preliminary", None), ("final", "dr.a")]
    page = browser.get(answer.headers["Location"]).text
    assert "Final report" in page
    assert f'href="/reports/{ids[0]}" data-next' in page, "the one behind it in the list, not the first again"
    assert f'href="/reports/{ids[2]}" data-next' in browser.get(f"/reports/{ids[0]}").text, "and then from above"
    assert 'type="radio"' not in page, "to amend it is another step"


def test_only_a_physician_signs(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    resident, reader = somebody(any_api, "resident"), somebody(any_api, "student", "physician", scopes=("read",))

    page = resident.get(f"/reports/{first}").text
    refused = send(resident, first, status=403, sign="sign", **AGREE).text

    assert "data-sign" not in page
    assert "data-sign" in doctor(any_api).get(f"/reports/{first}").text
    assert "the role physician" in refused
    assert refused.count(" checked") == 3, "what was chosen is still there"
    assert "data-sign" not in reader.get(f"/reports/{first}").text
    reader.submit(f"/reports/{first}/review", on=f"/reports/{first}", status=403, act="sign", **AGREE)
    assert versions(any_api, first) == [("preliminary", None)]


def test_who_has_an_older_version_before_them_hears_what_is_newer_and_signs_nothing(any_api: Api) -> None:
    version = model(any_api.prepared)
    predict(any_api.prepared, version, {"1.2.20260101": [MIXED]})
    first = aggregate(any_api.prepared)
    browser = doctor(any_api)
    stale = DIGEST.findall(browser.get(f"/reports/{first}").text)[0]
    predict(any_api.prepared, version, {"1.2.20260201": [(0.1, 0.8, 0.3)]})
    second = aggregate(any_api.prepared)

    fields = AGREE | {"note.mass": "<u>none</u>", "digest": stale, "act": "sign"}
    page = browser.submit(f"/reports/{first}/review", on=f"/reports/{first}", status=409, **fields).text

    assert "Nothing was signed or saved." in page
    assert "Version 1 is not the newest" in page
    assert f'href="/reports/{second}?since={first}"' in page
    assert "0.800 against 0.500, positive" in page, "the difference in words"
    assert "Mass</bdi>: agrees <bdi>&lt;u&gt;none&lt;/u&gt;</bdi>" in page, "what was written is not lost"
    assert "data-sign" not in page
    assert versions(any_api, first) == [("preliminary", None), ("preliminary", None)]
    assert "Changed since version 1" in browser.get(f"/reports/{second}?since={first}").text


def test_signature_on_other_content_than_was_read_is_refused(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    browser = doctor(any_api)

    for digest in ("0" * 64, "", '"\r\nX: y'):
        page = send(browser, first, status=409, sign="sign", digest=digest, **AGREE).text
        assert "If-Match names other content" in page
        assert page.count(" checked") == 3

    assert versions(any_api, first) == [("preliminary", None)]


def test_note_without_a_verdict_is_not_lost(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)

    page = send(doctor(any_api), first, status=422, comment="all else well", **{"note.mass": "at the hilum"}).text

    assert "choose one for mass" in page
    assert ">at the hilum</textarea>" in page
    assert ">all else well</textarea>" in page
    assert versions(any_api, first) == [("preliminary", None)]


def test_signature_takes_a_verdict_on_every_decision(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)

    page = send(doctor(any_api), first, status=422, sign="sign", **{"verdict.mass": "agree"}).text

    assert "none on effusion, nodule" in page
    assert versions(any_api, first) == [("preliminary", None)]


def test_signed_report_is_amended_with_a_reason_and_begins_with_what_was_signed(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    final = sign(any_api, physician(any_api), first)["id"]
    browser, amending = doctor(any_api, "dr.b"), f"/reports/{final}?amend=yes"

    form = browser.get(amending).text
    digest = DIGEST.findall(form)[0]
    fields = AGREE | {"verdict.effusion": "disagree", "digest": digest, "comment": ""}
    lacking = browser.submit(f"/reports/{final}/amend", on=amending, status=422, reason="", **fields).text
    amended = made(browser.submit(f"/reports/{final}/amend", on=amending, reason="an artefact", **fields))

    assert form.count('value="agree" required checked') == 3
    assert 'value="disagree" required checked' in lacking
    page = browser.get(f"/reports/{amended}").text
    assert "Amended report" in page
    assert "Reason: an artefact" in page
    assert versions(any_api, first) == [("preliminary", None), ("final", "dr.a"), ("amended", "dr.b")]
    assert 'type="radio"' not in somebody(any_api, "resident").get(f"/reports/{amended}?amend=yes").text


def test_signed_report_is_retracted_with_a_reason(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    final = sign(any_api, physician(any_api), first)["id"]
    browser = doctor(any_api)

    send(browser, final, "retract", status=422, reason=" ")
    send(somebody(any_api, "resident"), final, "retract", status=403, reason="x")
    retracted = made(send(browser, final, "retract", reason="<em>another</em> patient"))

    page = browser.get(f"/reports/{retracted}").text
    assert "Do not use: retracted by dr.a" in page
    assert "&lt;em&gt;another&lt;/em&gt; patient" in page
    assert versions(any_api, first)[-1] == ("retracted", "dr.a")


def test_older_version_says_that_there_is_a_newer_one(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    second = say(any_api, physician(any_api), first, comment="seen").json["id"]
    browser = doctor(any_api)

    old, new = browser.get(f"/reports/{first}").text, browser.get(f"/reports/{second}").text

    assert "A newer version is there: version 2, preliminary." in old
    assert f'href="/reports/{second}?since={first}"' in old
    assert 'type="radio"' not in old
    assert "A newer version" not in new
    assert "Nothing that a reader would see changed since version 1." in new


def test_form_without_our_word_changes_nothing(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    browser = doctor(any_api)
    digest = DIGEST.findall(browser.get(f"/reports/{first}").text)[0]

    answer = browser.client.post(f"/reports/{first}/review", data=AGREE | {"digest": digest, "act": "sign"})

    assert answer.status_code == 403
    assert versions(any_api, first) == [("preliminary", None)]


def test_report_speaks_chinese_too(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    browser = doctor(any_api)
    browser.get("/language/zh?next=/", 303)

    page = browser.get(f"/reports/{first}").text

    assert "AI 初步结果" in page
    assert "保存，不签署" in page
    assert f"/api/v1/reports/{first}.pdf?lang=zh" in page
