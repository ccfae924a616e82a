"""A physician's verdicts make the next version, preliminary or final; what does not fit is refused in words."""

from typing import Any

import pytest

from shared.db import reading
from shared.models import AuditEvent, Report, Review, ReviewVerdict
from shared.reports.digest import content_digest
from tests.conftest import Api
from tests.factories import rows_of
from tests.reviews import (
    CODES,
    NOTHING,
    REPORTS,
    aggregate,
    document,
    model,
    person,
    physician,
    predict,
    read,
    reported,
    say,
    sign,
)

MIXED = (0.9, 0.2, 0.3)
NOBODY = "01a20fdb-8f94-75f9-9123-f4612e95134f"


def is_problem(answer: Any, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    for word in words:
        assert word in answer.json["detail"]


def test_unsigned_review_makes_the_next_preliminary_version(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    before = document(any_api, first)
    who = person(any_api, "resident")

    made = any_api.post(
        f"{REPORTS}/{first}/review",
        json={
            "findings": [
                {"code": "mass", "verdict": "disagree", "note": "seen at\nthe hilum"},
                {"code": "effusion", "verdict": "agree"},
            ],
            "comment": "for the consultant",
        },
        headers=who | read(any_api, first),
    )

    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"{REPORTS}/{made.json['id']}"
    told = {name: made.json[name] for name in ("number", "status", "origin", "by", "supersedes", "signs")}
    assert told == {
        "number": 2,
        "status": "preliminary",
        "origin": "review",
        "by": "resident",
        "supersedes": first,
        "signs": None,
    }
    shown = any_api.get(f"{REPORTS}/{made.json['id']}").json
    assert made.headers["ETag"] == f'"{shown["content_digest"]}"'
    review = shown["document"]["review"]
    assert review == made.json["review"]
    assert review | {"reviewed_at": ""} == {
        "reviewer": "resident",
        "reviewed_at": "",
        "comment": "for the consultant",
        "reason": "",
        "signed": None,
        "verdicts": [
            {"finding": "effusion", "verdict": "agree", "decision": True, "value": True, "note": ""},
            {"finding": "mass", "verdict": "disagree", "decision": False, "value": True, "note": "seen at\nthe hilum"},
        ],
    }
    assert shown["document"]["version"]["by"] == "resident"
    assert shown["document"]["findings"] == before["findings"]
    assert document(any_api, first) == before
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Review, Review.is_signed.is_(False)) == 1
        assert rows_of(session, ReviewVerdict) == 2
        assert rows_of(session, AuditEvent, AuditEvent.action == "report.review") == 1


def test_signature_makes_the_report_final_and_names_what_was_signed(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    read_digest = any_api.get(f"{REPORTS}/{first}").json["content_digest"]

    made = sign(any_api, physician(any_api), first, nodule="unsure")

    assert (made["number"], made["status"], made["origin"], made["signs"]) == (2, "final", "signature", first)
    assert made["changes"]["status"] == {"before": "preliminary", "after": "final"}
    assert [one["code"] for one in made["changes"]["verdicts"]] == list(CODES)
    assert made["review"]["signed"] == {
        "by": "dr.a",
        "at": made["review"]["reviewed_at"],
        "signs": {"id": first, "number": 1, "content_digest": read_digest},
    }
    with reading(any_api.prepared.engine) as session:
        for report in session.query(Report):
            assert report.content_digest == content_digest(report.document)


def test_own_verdicts_carry_over_to_the_signature_until_new_results_come(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    first = aggregate(prepared)
    me, other = physician(any_api), physician(any_api, "dr.b")
    second = say(any_api, me, first, verdicts={"effusion": "disagree"}, comment="mine").json["id"]
    third = say(any_api, other, second, verdicts={"effusion": "unsure", "mass": "agree"}).json["id"]
    fourth = say(any_api, me, third, verdicts={"mass": "disagree"}).json

    assert [one["verdict"] for one in fourth["review"]["verdicts"]] == ["disagree", "disagree"]
    lacking = say(any_api, me, fourth["id"], sign=True)
    is_problem(lacking, 422, "none on nodule")
    signed = say(any_api, me, fourth["id"], verdicts={"nodule": "agree"}, sign=True).json
    assert [one["verdict"] for one in signed["review"]["verdicts"]] == ["disagree", "disagree", "agree"]
    assert signed["review"]["comment"] == "mine"

    predict(prepared, version, {"1.2.20260201": [NOTHING]})
    fresh = aggregate(prepared)
    assert "review" not in document(any_api, fresh)
    is_problem(say(any_api, me, fresh, sign=True), 422, "none on effusion, mass, nodule")


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([{"code": "lump", "verdict": "agree"}], ["lump", "it has effusion, mass, nodule"]),
        ([{"code": "mass", "verdict": "agree"}, {"code": "mass", "verdict": "unsure"}], ["mass", "came before"]),
        ([], ["says nothing"]),
    ],
)
def test_review_is_refused_when_its_findings_do_not_fit(api: Api, findings: list[Any], words: list[str]) -> None:
    first = reported(api.prepared, MIXED)

    answer = api.post(f"{REPORTS}/{first}/review", json={"findings": findings}, headers=read(api, first))

    is_problem(answer, 422, *words)


def test_review_is_refused_when_the_finding_is_background_or_undecided(api: Api) -> None:
    background = reported(api.prepared, (0.7, 0.2, 0.1), task="multiclass", name="classes")
    is_problem(say(api, {}, background, verdicts={"normal": "agree"}), 422, "normal", "nothing was found")

    signed = sign(api, physician(api), background, bacteria="disagree")
    assert [one["finding"] for one in signed["review"]["verdicts"]] == ["bacteria", "virus"]


def test_words_of_several_lines_are_kept_and_control_codes_refused(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)

    for comment in ("\x1b[2J", "a\x00b", "\ud800", "x" * 10_001):
        answer = say(any_api, {}, first, comment=comment)
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/comment"), comment
    kept = say(any_api, {}, first, comment=" one\r\n\ttwo – drei\n").json
    assert kept["review"]["comment"] == "one\n\ttwo – drei"


@pytest.mark.parametrize("header", [None, "*"])
def test_review_needs_the_etag_of_what_was_read(api: Api, header: str | None) -> None:
    first = reported(api.prepared, MIXED)
    headers = {} if header is None else {"If-Match": header}

    answer = api.post(f"{REPORTS}/{first}/review", json={"comment": "well"}, headers=headers)

    is_problem(answer, 428, "If-Match")


def test_review_is_refused_when_the_etag_is_of_other_content(api: Api) -> None:
    first = reported(api.prepared, MIXED)

    answer = api.post(f"{REPORTS}/{first}/review", json={"comment": "well"}, headers={"If-Match": f'"{"0" * 64}"'})

    is_problem(answer, 409, "other content")
    weak = {"If-Match": f"W/{read(api, first)['If-Match']}"}
    assert api.post(f"{REPORTS}/{first}/review", json={"comment": "well"}, headers=weak).status_code == 201


def test_review_of_an_older_version_is_told_what_is_newer(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared)
    predict(prepared, version, {"1.2.20260101": [NOTHING]})
    first = aggregate(prepared)
    predict(prepared, version, {"1.2.20260201": [MIXED]})
    second = aggregate(prepared)

    answer = say(any_api, physician(any_api), first, verdicts={"mass": "agree"})

    is_problem(answer, 409, "version 2", second, "findings, studies, images")
    newer = answer.json["newer"]
    assert (newer["id"], newer["number"], newer["status"]) == (second, 2, "preliminary")
    assert newer["changes"]["studies"]["added"] == ["1.2.20260201"]


def test_same_review_again_is_told_the_version_that_it_made(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    who = physician(any_api)
    made = sign(any_api, who, first)

    again = say(any_api, who, first, verdicts=dict.fromkeys(CODES, "agree"), sign=True)

    is_problem(again, 409, f"made version 2 ({made['id']})")
    assert again.json["newer"]["id"] == made["id"]
    other = say(any_api, physician(any_api, "dr.b"), first, verdicts=dict.fromkeys(CODES, "agree"), sign=True)
    assert "before made" not in other.json["detail"]


def test_same_idempotency_key_gives_the_first_answer_again(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    headers = physician(any_api) | read(any_api, first) | {"Idempotency-Key": "one"}
    body = {"findings": [{"code": code, "verdict": "agree"} for code in CODES], "sign": True}

    answers = [any_api.post(f"{REPORTS}/{first}/review", json=body, headers=headers) for _ in range(2)]

    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert answers[1].headers["Idempotent-Replay"] == "true"
    other = any_api.post(f"{REPORTS}/{first}/review", json=body | {"comment": "more"}, headers=headers)
    is_problem(other, 422, "another payload")
    elsewhere = any_api.post(f"{REPORTS}/{first}/review", json=body, headers=headers | {"If-Match": '"another"'})
    is_problem(elsewhere, 422, "another payload")


def test_signature_takes_a_physician(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)

    is_problem(say(any_api, {}, first, sign=True), 403, "admin", "--role physician")
    is_problem(say(any_api, person(any_api, "resident", "submitter"), first, sign=True), 403, "resident")
    reader = person(any_api, "reader", "physician", scopes=["read"])
    is_problem(say(any_api, reader, first, sign=True), 403, "scope")
    assert any_api.get(f"{REPORTS}/{first}/versions").json["items"][-1]["number"] == 1


def test_signed_report_is_amended_and_not_reviewed(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    me, other = physician(any_api), physician(any_api, "dr.b")
    is_problem(say(any_api, me, first, "amend", comment="x", reason="y"), 409, "preliminary", "sign it instead")
    final = sign(any_api, me, first)

    is_problem(say(any_api, me, final["id"], verdicts={"mass": "unsure"}), 409, "amend or retract")
    is_problem(say(any_api, me, final["id"], "amend", reason="none"), 422, "Nothing would change")
    is_problem(say(any_api, {}, final["id"], "amend", comment="x", reason="y"), 403, "physician")
    wanted = {"verdicts": {"mass": "disagree"}, "reason": "seen in the CT"}
    amended = say(any_api, other, final["id"], "amend", **wanted).json

    assert (amended["number"], amended["status"], amended["by"]) == (3, "amended", "dr.b")
    assert amended["signs"] == final["id"]
    assert amended["review"]["reason"] == "seen in the CT"
    assert [one["verdict"] for one in amended["review"]["verdicts"]] == ["agree", "disagree", "agree"]
    assert amended["changes"]["verdicts"] == [{"code": "mass", "before": "agree", "after": "disagree"}]
    again = say(any_api, me, amended["id"], "amend", comment="and again", reason="a comment").json
    assert (again["number"], again["status"], again["review"]["comment"]) == (4, "amended", "and again")


@pytest.mark.parametrize("reason", [None, "", " "])
@pytest.mark.parametrize("act", ["amend", "retract"])
def test_amendment_and_retraction_take_a_reason(api: Api, act: str, reason: str | None) -> None:
    final = sign(api, physician(api), reported(api.prepared, MIXED))
    body = {} if reason is None else {"reason": reason}

    answer = api.post(f"{REPORTS}/{final['id']}/{act}", json=body, headers=read(api, final["id"]))

    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/reason")


def test_retracted_report_says_so_and_is_reviewed_anew(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    me = physician(any_api)
    final = sign(any_api, me, aggregate(prepared))

    gone = say(any_api, me, final["id"], "retract", reason="another patient's films").json

    assert (gone["number"], gone["status"], gone["signs"]) == (3, "retracted", None)
    assert (gone["review"]["verdicts"], gone["review"]["signed"]) == ([], None)
    assert gone["review"]["reason"] == "another patient's films"
    for act, body in (("amend", {"comment": "x", "reason": "y"}), ("retract", {"reason": "again"})):
        is_problem(say(any_api, me, gone["id"], act, **body), 409, "retracted")
    # Nothing of what was said before carries over.
    is_problem(say(any_api, me, gone["id"], "review", sign=True), 422, "verdict on every decision")
    again = say(any_api, me, gone["id"], "review", verdicts={"mass": "agree"}).json
    assert (again["number"], again["status"]) == (4, "preliminary")
    assert sign(any_api, me, again["id"])["number"] == 5
    predict(prepared, version, {"1.2.20260201": [NOTHING]})
    assert sign(any_api, me, aggregate(prepared))["number"] == 7


def test_report_that_is_not_there_is_told(api: Api) -> None:
    headers = {"If-Match": '"x"'}
    for act, body in (("review", {"comment": "x"}), ("amend", {"reason": "y"}), ("retract", {"reason": "z"})):
        who = physician(api)
        is_problem(api.post(f"{REPORTS}/{NOBODY}/{act}", json=body, headers=headers | who), 404)
    for path in ("versions", "changes"):
        is_problem(api.get(f"{REPORTS}/{NOBODY}/{path}"), 404)


def test_chain_is_listed_and_any_two_versions_compared(any_api: Api) -> None:
    prepared = any_api.prepared
    first = reported(prepared, MIXED)
    me = physician(any_api)
    second = say(any_api, me, first, verdicts={"mass": "unsure"}).json
    third = sign(any_api, me, second["id"])

    page = any_api.get(f"{REPORTS}/{second['id']}/versions?limit=2").json
    rest = any_api.get(f"{REPORTS}/{second['id']}/versions?limit=2&cursor={page['next']}").json
    assert [(one["number"], one["by"], one["origin"]) for one in page["items"] + rest["items"]] == [
        (1, None, "results"),
        (2, "dr.a", "review"),
        (3, "dr.a", "signature"),
    ]
    assert rest["next"] is None

    def told(of: str, since: str | None = None) -> Any:
        return any_api.get(f"{REPORTS}/{of}/changes", query_string={"since": since} if since else {}).json

    assert told(third["id"], first)["changes"]["status"] == {"before": "preliminary", "after": "final"}
    assert [one["code"] for one in told(third["id"])["changes"]["verdicts"]] == list(CODES)
    assert told(first, third["id"])["changes"]["status"] == {"before": "final", "after": "preliminary"}
    assert told(third["id"], third["id"])["changes"] == {}
    assert (told(third["id"])["since"], told(third["id"])["to"]["number"]) == ({"id": second["id"], "number": 2}, 3)
    is_problem(any_api.get(f"{REPORTS}/{first}/changes"), 422, "first version")
    predict(prepared, model(prepared, name="another"), {"1.2.3": [MIXED]}, "P2")
    aggregate(prepared)
    other = any_api.get(f"{REPORTS}?model=another").json["items"][0]["id"]
    is_problem(any_api.get(f"{REPORTS}/{first}/changes?since={other}"), 422, "not of one chain")
