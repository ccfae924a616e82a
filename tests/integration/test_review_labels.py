"""Signed verdicts become labels, amendments replace them, retractions withdraw them; training learns from them."""

from pathlib import Path

from sqlalchemy import select

from shared.datasets.document import read
from shared.db import reading
from shared.models import Label, PatientSplit, Study
from tests.conftest import Api
from tests.factories import rows_of
from tests.reporting import report_on_all
from tests.reviews import (
    NOTHING,
    REPORTS,
    aggregate,
    document,
    fail,
    model,
    physician,
    predict,
    predict_again,
    reported,
    say,
    sign,
)
from tests.trainings import LABELS, PATIENTS, QUICK, level_of, name, postgresql_is_slow, register, store, train
from worker.runtime import Runtime
from worker.tasks import infer_next

JANUARY, FEBRUARY, MARCH = "1.2.20260101", "1.2.20260201", "1.2.20260301"
MIXED = (0.9, 0.2, 0.3)


def labels(api: Api, query: str = "&source=review") -> dict[tuple[str, str], bool]:
    """What stands and decides: by finding and study."""
    items = api.get(f"{LABELS}?limit=500{query}").json["items"]
    return {(one["finding"], one["study_instance_uid"]): one["value"] for one in items if one["decides"]}


def test_signed_verdicts_are_labels_of_the_study(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED, study=JANUARY)
    me = physician(any_api)
    unsigned = say(any_api, me, first, verdicts={"mass": "disagree"}).json["id"]
    assert labels(any_api) == {}

    sign(any_api, me, unsigned, mass="disagree", nodule="unsure")

    assert labels(any_api) == {("effusion", JANUARY): True, ("mass", JANUARY): True}
    shown = any_api.get(LABELS).json["items"]
    assert {(one["who"], one["source"], one["level"], one["decides"]) for one in shown} == {
        ("dr.a", "review", "study", True)
    }
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, PatientSplit) == 1


def test_split_of_a_patient_is_drawn_as_for_imported_labels(any_api: Api) -> None:
    prepared = any_api.prepared
    version, who = model(prepared), physician(any_api)
    patients = [f"P{at}" for at in range(12)]
    for patient in patients:
        predict(prepared, version, {f"1.3.{patient[1:]}": [MIXED]}, patient)
    report_on_all(prepared.engine)
    for report in any_api.get(REPORTS).json["items"]:
        sign(any_api, who, report["id"])

    shown = any_api.get(f"{LABELS}?finding=mass").json["items"]
    held_out = {one["study_instance_uid"] for one in shown if one["split"] == "holdout"}

    # The same as in the tests of imports.
    assert held_out == {f"1.3.{at}" for at in (0, 1, 7, 11)}


def test_negative_word_is_of_each_study_and_positive_word_of_the_one_that_leads(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared)
    predict(prepared, version, {JANUARY: [(0.6, 0.2, 0.1)], FEBRUARY: [(0.9, 0.1, 0.1), (0.1, 0.1, 0.1)]})

    sign(any_api, physician(any_api), aggregate(prepared), mass="disagree")

    assert labels(any_api) == {
        ("effusion", FEBRUARY): True,
        ("mass", JANUARY): True,
        ("nodule", JANUARY): False,
        ("nodule", FEBRUARY): False,
    }


def test_study_out_of_scope_or_without_result_gets_no_label(any_api: Api) -> None:
    prepared = any_api.prepared
    version = model(prepared, time_scope={"kind": "window_days", "days": 40})
    predict(prepared, version, {JANUARY: [MIXED], FEBRUARY: [MIXED]})
    fail(prepared, version, MARCH)
    report = aggregate(prepared)
    scope = {one["study_instance_uid"]: one["in_scope"] for one in document(any_api, report)["studies"]}
    assert scope == {JANUARY: False, FEBRUARY: True, MARCH: True}

    sign(any_api, physician(any_api), report, "disagree")

    assert {study for _, study in labels(any_api)} == {FEBRUARY}


def test_amendment_replaces_labels_and_retraction_withdraws_them(any_api: Api) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {JANUARY: [(0.6, 0.2, 0.1)], FEBRUARY: [(0.9, 0.1, 0.1)]})
    final = sign(any_api, me, aggregate(prepared))
    assert len(labels(any_api)) == 5

    verdicts = {"effusion": "disagree", "mass": "unsure"}
    other = physician(any_api, "dr.b")
    amended = say(any_api, other, final["id"], "amend", verdicts=verdicts, reason="seen again").json

    assert labels(any_api) == {
        ("effusion", JANUARY): False,
        ("effusion", FEBRUARY): False,
        ("nodule", JANUARY): False,
        ("nodule", FEBRUARY): False,
    }
    assert {one["who"] for one in any_api.get(LABELS).json["items"]} == {"dr.b"}
    say(any_api, me, amended["id"], "retract", reason="another patient's films")
    assert labels(any_api) == {}
    with reading(prepared.engine) as session:
        assert rows_of(session, Label, Label.superseded_at.is_not(None)) == 9


def test_new_results_withdraw_no_label_and_the_next_signature_speaks_over_the_last(any_api: Api) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {JANUARY: [MIXED]})
    sign(any_api, me, aggregate(prepared), nodule="disagree")
    before = labels(any_api)
    assert before == {("effusion", JANUARY): True, ("mass", JANUARY): False, ("nodule", JANUARY): True}

    predict(prepared, version, {FEBRUARY: [NOTHING]})
    fresh = aggregate(prepared)
    assert labels(any_api) == before
    final = sign(any_api, me, fresh, effusion="disagree", nodule="unsure")

    assert labels(any_api) == {(code, study): False for code in ("effusion", "mass") for study in (JANUARY, FEBRUARY)}
    say(any_api, me, final["id"], "retract", reason="wrong")
    assert labels(any_api) == {}


def test_retraction_takes_nothing_that_another_models_review_said(any_api: Api) -> None:
    prepared = any_api.prepared
    me = physician(any_api)
    version = model(prepared)
    predict(prepared, version, {JANUARY: [MIXED]})
    first = sign(any_api, me, aggregate(prepared))
    other = model(prepared, name="another")
    predict_again(prepared, other, (0.9, 0.8, 0.3))
    report_on_all(prepared.engine)
    (report,) = any_api.get(f"{REPORTS}?model=another").json["items"]
    sign(any_api, me, report["id"], nodule="unsure")
    both = {("effusion", JANUARY): True, ("mass", JANUARY): True}
    assert labels(any_api) == both | {("nodule", JANUARY): False}

    say(any_api, me, first["id"], "retract", reason="wrong")

    assert labels(any_api) == both


def test_reviews_of_two_models_stand_beside_each_other_and_the_later_decides(any_api: Api) -> None:
    prepared = any_api.prepared
    me = physician(any_api)
    predict(prepared, model(prepared, name="first"), {JANUARY: [MIXED]})
    sign(any_api, me, aggregate(prepared))
    predict_again(prepared, model(prepared, name="second"), MIXED)
    report_on_all(prepared.engine)
    (report,) = any_api.get(f"{REPORTS}?model=second").json["items"]

    def told() -> set[tuple[str, bool, bool, bool]]:
        items = any_api.get(f"{LABELS}?finding=effusion").json["items"]
        return {(one["model"], one["value"], one["decides"], one["contradicted"]) for one in items}

    final = sign(any_api, me, report["id"], effusion="disagree")
    assert told() == {("first", True, False, True), ("second", False, True, True)}
    say(any_api, me, final["id"], "retract", reason="wrong")
    assert told() == {("first", True, True, False)}


def test_review_counts_over_an_import_and_its_withdrawal_gives_the_import_back(any_api: Api) -> None:
    prepared = any_api.prepared
    me = physician(any_api)
    first = reported(prepared, MIXED, study=JANUARY)
    row = {"study_instance_uid": JANUARY, "finding": "effusion", "value": 0, "source": "ward"}
    any_api.post(LABELS, json={"labels": [row]})
    final = sign(any_api, me, first)

    def deciding() -> list[str]:
        items = any_api.get(f"{LABELS}?finding=effusion").json["items"]
        return [one["source"] for one in items if one["decides"]]

    assert deciding() == ["review"]
    say(any_api, me, final["id"], "retract", reason="wrong")
    assert deciding() == ["ward"]


@postgresql_is_slow
def test_training_learns_from_signed_reports(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path)
    store(any_api, PATIENTS)
    with reading(runtime.engine) as session:
        studies = list(session.scalars(select(Study.study_instance_uid)))
    job = any_api.post("/api/v1/jobs", json={"studies": studies}).json
    for _ in range(4):
        infer_next(runtime)
    assert any_api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "done"
    report_on_all(runtime.engine)
    who = physician(any_api)
    found = any_api.get(f"{REPORTS}?limit=500").json["items"]
    for report in found:
        # The last patient's reviewer holds the machine to be wrong.
        is_last = report["patient"]["patient_id"] == name(PATIENTS - 1)
        sign(any_api, who, report["id"], "disagree" if is_last else "agree")

    done = train(any_api, runtime, QUICK)

    assert done["state"] == "done", done
    _, samples = read(runtime.store.path(done["training"]["dataset"]))
    patients = {report["patient"]["key"]: report["patient"]["patient_id"] for report in found}
    truth = {patients[sample.patient]: sample.label for sample in samples}
    bright = {name(at): int(level_of(at) > 128) for at in range(PATIENTS)}
    assert truth == bright | {name(PATIENTS - 1): 0}
