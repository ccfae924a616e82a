"""People's labels come in, in bulk and again; sources that disagree are told; the holdout is for ever."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from shared.db import reading
from shared.models import Label, PatientSplit
from shared.models.label import REVIEW
from shared.repositories.labels import NewLabel, add_labels, targets_named
from shared.repositories.splits import drawn_splits
from shared.states import Split, TargetLevel
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api, Prepared
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model, admin_id, index_headers, make_header, rows_of

LABELS = "/api/v1/labels"
NODULE = {"finding": "nodule", "source": "ward"}


def add_images(prepared: Prepared, *given: dict[str, Any]) -> list[str]:
    """An instance for each, all of one study unless given; their SOP Instance UIDs."""
    with UnitOfWork(prepared.engine) as uow:
        return [add_instance(uow.session, **one).sop_instance_uid for one in given]


def send(api: Api, *rows: dict[str, Any]) -> Any:
    answer = api.post(LABELS, json={"labels": [NODULE | row for row in rows]})
    assert answer.status_code == 200, answer.json
    return answer.json


def counts(taken: dict[str, Any]) -> tuple[int, int, int, int]:
    return (taken["added"], taken["changed"], taken["unchanged"], taken["refused"])


def listed(api: Api, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(f"{LABELS}?limit=500{query}").json["items"]
    return items


def split_of(prepared: Prepared, patient_id: str) -> Split | None:
    with reading(prepared.engine) as session:
        (target,) = targets_named(session, TargetLevel.PATIENT, [patient_id])[patient_id]
        return session.get_one(PatientSplit, target.patient_row).split


def test_labels_sent_again_change_nothing(any_api: Api) -> None:
    first, second = add_images(any_api.prepared, {}, {})
    rows = [
        {"sop_instance_uid": first, "value": 1},
        {"sop_instance_uid": second, "value": "negative", "who": "Dr. A"},
        {"study_instance_uid": make_uid("study"), "value": True},
        {"patient_id": "P1", "value": "1"},
    ]

    assert counts(send(any_api, *rows)) == (4, 0, 0, 0)
    assert counts(send(any_api, *rows)) == (0, 0, 4, 0)

    shown = listed(any_api)
    assert [label["level"] for label in shown] == ["patient", "study", "instance", "instance"]
    assert [label["value"] for label in shown] == [True, True, False, True]
    assert [label["who"] for label in shown] == ["admin", "admin", "Dr. A", "admin"]
    assert [shown[1]["study_instance_uid"], shown[2]["sop_instance_uid"]] == [make_uid("study"), second]
    assert all(label["decides"] and not label["contradicted"] for label in shown)


def test_finding_that_no_model_serves_is_taken_and_told(any_api: Api) -> None:
    (uid,) = add_images(any_api.prepared, {})
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    rows = [{"sop_instance_uid": uid, "value": 1, "finding": code} for code in ("lesion", "leson")]

    taken = send(any_api, *rows)

    assert (counts(taken), taken["unknown_findings"]) == ((2, 0, 0, 0), ["leson"])


def test_source_that_changes_its_mind_supersedes_its_word(any_api: Api) -> None:
    (uid,) = add_images(any_api.prepared, {})
    send(any_api, {"sop_instance_uid": uid, "value": 1})

    assert counts(send(any_api, {"sop_instance_uid": uid, "value": 0})) == (0, 1, 0, 0)
    assert counts(send(any_api, *({"sop_instance_uid": uid, "value": value} for value in (1, 0)))) == (0, 2, 0, 0)

    assert [label["value"] for label in listed(any_api)] == [False]
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Label) == 2
        assert rows_of(session, Label, Label.superseded_at.is_(None), Label.value.is_(False)) == 1


def test_row_that_cannot_be_taken_costs_no_other(any_api: Api) -> None:
    twice = make_uid("twice")
    good, *_ = add_images(any_api.prepared, {}, {"sop_instance_uid": twice}, {"sop_instance_uid": twice})
    rows = [
        {"sop_instance_uid": make_uid("nowhere"), "value": 1},
        {"sop_instance_uid": twice, "value": 1},
        {"sop_instance_uid": good, "patient_id": "Secret^Name", "value": 1},
        {"sop_instance_uid": good, "value": "yes"},
        {"value": 1},
        {"sop_instance_uid": good, "value": 1, "splitt": "train"},
        {"sop_instance_uid": good, "value": 1, "source": REVIEW},
        {"sop_instance_uid": good, "value": 1, "split": "test"},
        {"sop_instance_uid": good, "patient_id": "P1", "value": 1},
    ]

    taken = send(any_api, *rows)

    assert counts(taken) == (1, 0, 0, 8)
    assert [(one["row"], one["reason"]) for one in taken["problems"]] == [
        (1, "not_stored"),
        (2, "ambiguous"),
        (3, "not_stored"),
        *((row, "invalid") for row in range(4, 9)),
    ]
    told = " ".join(one["detail"] for one in taken["problems"])
    assert "send its files first" in told
    assert "names no target" in told
    assert "splitt" in told
    assert "Secret" not in told
    assert good not in told


def test_patient_of_several_issuers_is_told_apart_by_issuer(any_api: Api) -> None:
    for issuer in ("east", "west"):
        add_images(any_api.prepared, {"issuer_of_patient_id": issuer, "study_instance_uid": make_uid(issuer)})

    taken = send(any_api, {"patient_id": "P1", "value": 1}, {"patient_id": "P1", "issuer": "west", "value": 1})

    assert counts(taken) == (1, 0, 0, 1)
    assert taken["problems"][0]["reason"] == "ambiguous"


def test_later_import_decides_and_a_signed_review_over_both(any_api: Api) -> None:
    (uid,) = add_images(any_api.prepared, {})
    send(any_api, {"sop_instance_uid": uid, "value": 1}, {"sop_instance_uid": uid, "value": 1, "finding": "other"})
    send(any_api, {"sop_instance_uid": uid, "value": 0, "source": "registry"})
    send(any_api, {"sop_instance_uid": uid, "value": 1, "who": "another"})

    shown = listed(any_api, "&contradicted=true")
    assert [(one["source"], one["value"], one["decides"]) for one in shown] == [
        ("ward", True, True),
        ("registry", False, False),
    ]

    with UnitOfWork(any_api.prepared.engine) as uow:
        (target,) = targets_named(uow.session, TargetLevel.INSTANCE, [uid])[uid]
        add_labels(uow.session, admin_id(uow.session), [NewLabel(target, "nodule", False, REVIEW, "Dr. B")])
    send(any_api, {"sop_instance_uid": uid, "value": 1, "source": "later"})

    decided = {one["source"]: one["decides"] for one in listed(any_api, "&finding=nodule")}
    assert decided == {"later": False, REVIEW: True, "ward": False, "registry": False}
    assert [one["finding"] for one in listed(any_api, "&source=ward&level=instance")] == ["nodule", "other"]


def test_labels_come_as_a_table(api: Api) -> None:
    first, second = add_images(api.prepared, {}, {})
    table = f"sop_instance_uid,finding,value,source,split\r\n{first},nodule,1,ward,\r\n{second},nodule,0,ward,val\r\n"

    def post(body: bytes, kind: str = "text/csv") -> Any:
        return api.post(LABELS, data=body, headers={"Content-Type": kind})

    assert counts(post(b"\xef\xbb\xbf" + table.encode()).json) == (2, 0, 0, 0)
    assert counts(post(table.encode()).json) == (0, 0, 2, 0)
    unknown = post(table.replace("split", "fold").encode())
    assert (unknown.status_code, "names fold" in unknown.json["detail"]) == (422, True)
    assert post(b"sop_instance_uid,finding\r\n").status_code == 422
    assert post(b"").status_code == 422
    assert post(b"\xff\xfe").status_code == 400
    assert post(table.encode(), "text/html").status_code == 415
    wide = post(table.replace(",val\r", ",val,more\r").encode()).json
    assert (counts(wide), wide["problems"][0]["row"]) == ((0, 0, 1, 1), 2)


def test_split_of_a_patient_may_change_but_not_over_the_holdout(any_api: Api) -> None:
    prepared = any_api.prepared
    add_images(
        prepared,
        *({"patient_id": f"P{at}", "study_instance_uid": make_uid("study", at)} for at in (1, 2)),
    )
    send(
        any_api,
        {"patient_id": "P1", "value": 1, "split": "train"},
        {"patient_id": "P2", "value": 1, "split": "holdout"},
    )

    assert counts(send(any_api, {"patient_id": "P1", "value": 0, "split": "val"})) == (0, 1, 0, 0)
    taken = send(
        any_api,
        {"patient_id": "P1", "value": 1, "split": "holdout"},
        {"patient_id": "P2", "value": 0, "split": "train"},
        {"patient_id": "P2", "value": 0},
    )

    assert counts(taken) == (0, 1, 0, 2)
    assert {one["reason"] for one in taken["problems"]} == {"split_is_fixed"}
    assert (split_of(prepared, "P1"), split_of(prepared, "P2")) == (Split.VAL, Split.HOLDOUT)


def test_holdout_is_drawn_once_and_for_ever(any_api: Api) -> None:
    prepared = any_api.prepared
    ids = [f"P{at}" for at in range(500)]
    with UnitOfWork(prepared.engine) as uow:
        headers = [make_header(patient_id=one, study_instance_uid=make_uid("study", one)) for one in ids]
        index_headers(uow.session, headers)
    rows = [{"patient_id": one, "value": 1} for one in ids]

    assert counts(send(any_api, *rows)) == (500, 0, 0, 0)
    first = {one: split_of(prepared, one) for one in ids}
    changed = prepared.settings.model_copy(update={"holdout_salt": "another", "holdout_share": 0.9})
    any_api.app.extensions["overread"] = replace(any_api.app.extensions["overread"], settings=changed)
    send(any_api, *({**row, "value": 0} for row in rows))

    assert {one: split_of(prepared, one) for one in ids} == first
    # 500 draws of a fifth: 100, give or take three standard deviations.
    assert 73 <= sum(split is Split.HOLDOUT for split in first.values()) <= 127
    # What the default salt says, on every machine.
    assert [one for one in ids[:12] if first[one] is Split.HOLDOUT] == ["P0", "P1", "P7", "P11"]
    with reading(prepared.engine) as session:
        found = targets_named(session, TargetLevel.PATIENT, ids)
        rows_now = [found[one][0].patient_row for one in ids]
        assert list(first.values()) == [drawn_splits(session, rows_now, prepared.settings)[row] for row in rows_now]


def test_labels_that_come_at_once_stand_once(any_api: Api) -> None:
    uids = add_images(any_api.prepared, *({} for _ in range(50)))
    rows = [{"sop_instance_uid": uid, "value": 1} for uid in uids]

    with ThreadPoolExecutor(4) as pool:
        taken = [counts(one) for one in pool.map(lambda _: send(any_api, *rows), range(4))]

    assert sorted(taken) == [(0, 0, 50, 0)] * 3 + [(50, 0, 0, 0)]
    assert len(listed(any_api)) == 50


@pytest.mark.parametrize(("scopes", "status"), [(["review"], 200), (["submit", "read", "operate"], 403)])
def test_labels_need_the_scope_review(api: Api, scopes: list[str], status: int) -> None:
    (uid,) = add_images(api.prepared, {})
    made = api.post("/api/v1/tokens", json={"principal": "ward", "scopes": scopes}).json
    headers = {"Authorization": f"Bearer {made['token']}"}

    answer = api.post(LABELS, json={"labels": [NODULE | {"sop_instance_uid": uid, "value": 1}]}, headers=headers)

    assert answer.status_code == status
