"""Who has an older version of a report is told of the newest; reports are found by status, signature and PatientID."""

from tests.command_line import answer_of, command_line
from tests.conftest import Api
from tests.reviews import REPORTS, aggregate, model, physician, predict, reported, say, sign

MIXED = (0.9, 0.2, 0.3)
FORMS = ("", ".json", ".html", ".sr.dcm", ".r5.json")


def test_every_form_of_an_older_version_names_the_newest(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    second = sign(any_api, physician(any_api), first)

    newest = {"id": second["id"], "number": 2, "status": "final"}
    assert any_api.get(f"{REPORTS}/{first}").json["superseded_by"] == newest
    link = f'<{REPORTS}/{second["id"]}>; rel="latest-version"'
    assert [any_api.get(f"{REPORTS}/{first}{form}").headers.get("Link") for form in FORMS] == [link] * len(FORMS)
    assert any_api.get(f"{REPORTS}/{second['id']}").json["superseded_by"] is None
    assert not any("Link" in any_api.get(f"{REPORTS}/{second['id']}{form}").headers for form in FORMS)
    listed = any_api.get(f"{REPORTS}?all_versions=true").json["items"]
    assert [one["superseded_by"] for one in listed] == [None, newest]


def test_reports_are_found_by_status_signature_and_patient(any_api: Api) -> None:
    who, version = physician(any_api), model(any_api.prepared)
    first = reported(any_api.prepared, MIXED)
    signed = sign(any_api, who, first)
    predict(any_api.prepared, version, {"1.2.20260102": [MIXED]}, "P2")
    aggregate(any_api.prepared)

    def found(query: str) -> set[tuple[str, int]]:
        items = any_api.get(f"{REPORTS}?{query}").json["items"]
        return {(one["patient"]["patient_id"], one["number"]) for one in items}

    assert found("status=final") == found("patient_id=P1") == {("P1", 2)}
    assert found("unsigned=true") == found("status=preliminary") == {("P2", 1)}
    assert found("unsigned=true&all_versions=true") == {("P2", 1)}
    assert found("status=preliminary&all_versions=true") == {("P1", 1), ("P2", 1)}
    assert any_api.get(f"{REPORTS}?status=signed").status_code == 422

    assert say(any_api, who, signed["id"], "retract", reason="another patient").status_code == 201
    assert found("unsigned=true") == {("P1", 3), ("P2", 1)}


def test_command_line_finds_reports_by_the_same(api: Api) -> None:
    first = reported(api.prepared, MIXED)
    sign(api, physician(api), first)

    with command_line(api) as run:
        (row,) = answer_of(run("reports", "--status", "final", "--patient", "P1"))["items"]
        assert answer_of(run("reports", "--unsigned"))["items"] == []
    assert row["number"] == 2
