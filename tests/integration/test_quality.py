"""Agreement as the API tells it: of signed verdicts that stand, by finding, reviewer and model version."""

from typing import Any

from shared.clock import utc_now
from tests.conftest import Api
from tests.reviews import NOTHING, aggregate, model, person, physician, predict, predict_again, say, sign

QUALITY = "/api/v1/quality"
MIXED = (0.9, 0.2, 0.3)


def quality(api: Api, **query: str) -> dict[tuple[int, str, str | None], dict[str, Any]]:
    items = api.get(QUALITY, query_string=query).json["items"]
    return {(one["model_version"], one["finding"], one["reviewer"]): one for one in items}


def told(row: dict[str, Any]) -> tuple[int, ...]:
    names = ("both_positive", "both_negative", "false_positive", "false_negative", "unsure")
    return tuple(row[name] for name in names)


def test_signed_verdicts_are_counted_as_they_stand(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared)
    me, other = physician(any_api), physician(any_api, "dr.b")
    assert quality(any_api) == {}
    signed = {}
    for patient, verdict in (("P1", "agree"), ("P2", "disagree"), ("P3", "agree"), ("P4", "unsure")):
        predict(prepared, version, {f"1.3.{patient[1:]}": [MIXED if patient != "P3" else NOTHING]}, patient)
        aggregate(prepared)
        (report,) = [
            one for one in any_api.get("/api/v1/reports").json["items"] if one["patient"]["patient_id"] == patient
        ]
        if patient == "P4":
            say(any_api, me, report["id"], verdicts={"effusion": "disagree"})
        else:
            signed[patient] = sign(any_api, me if patient != "P2" else other, report["id"], effusion=verdict)

    found = quality(any_api)
    assert told(found[1, "effusion", None]) == (1, 1, 1, 0, 0)
    assert told(found[1, "effusion", "dr.a"]) == (1, 1, 0, 0, 0)
    assert told(found[1, "effusion", "dr.b"]) == (0, 0, 1, 0, 0)
    assert found[1, "effusion", "dr.a"]["kappa"] == 1.0
    assert found[1, "mass", None]["kappa"] is None
    assert found[1, "mass", None]["sensitivity"] == {"value": None, "n": 0}
    assert found[1, "mass", None]["specificity"] == {"value": 1.0, "n": 3}
    whole = any_api.get(QUALITY).json
    assert "po - pe" in whole["formula"]
    assert "saw the machine's answer" in whole["caution"]

    say(any_api, me, signed["P1"]["id"], "amend", verdicts={"effusion": "unsure"}, reason="seen again")
    say(any_api, me, signed["P2"]["id"], "retract", reason="another patient's films")

    found = quality(any_api)
    assert told(found[1, "effusion", None]) == (0, 1, 0, 0, 1)
    assert (1, "effusion", "dr.b") not in found


def test_new_results_leave_the_verdicts_on_what_was_signed(any_api: Api) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    sign(any_api, me, aggregate(prepared))
    later = utc_now().isoformat()
    predict_again(prepared, model(prepared), NOTHING)
    sign(any_api, me, aggregate(prepared), effusion="disagree")

    assert told(quality(any_api)[1, "effusion", None]) == (1, 0, 0, 0, 0)
    assert told(quality(any_api)[2, "effusion", None]) == (0, 0, 0, 1, 0)
    assert {key[0] for key in quality(any_api, model="sample-binary:1")} == {1}
    assert {key[0] for key in quality(any_api, model="sample-binary")} == {1, 2}
    assert {key[0] for key in quality(any_api, since=later)} == {2}
    assert quality(any_api, model="another") == {}


def test_quality_is_refused_when_the_question_is_wrong(api: Api) -> None:
    for query in ({"model": "m:x"}, {"since": "yesterday"}, {"finding": "mass"}):
        answer = api.get(QUALITY, query_string=query)
        assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert api.get(QUALITY, headers=person(api, "clerk", scopes=["submit"])).status_code == 403
