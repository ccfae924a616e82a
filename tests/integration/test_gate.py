"""What a training makes serves only where it is better on patients nobody learnt from; the decision is on record."""

from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from pydicom import uid
from sqlalchemy import select

from scheduler.calendar import Calendar
from shared.clock import utc_now
from shared.models import AuditEvent, Blob, Dataset, Job, ModelVersion
from shared.repositories.gates import decide
from shared.states import GateOutcome, ModelState
from shared.unit_of_work import UnitOfWork
from tests.cohorts import ROOT, film, zipped
from tests.conftest import Api
from tests.factories import add_model, new_sha256
from tests.invariants import check_invariants
from tests.nights import NoHints
from tests.reporting import report_on_all
from tests.trainings import JOBS, LABELS, MODELS, QUICK, ZIP, level_of, name, register, store, submit, train
from worker.runtime import Runtime
from worker.tasks import infer_next, train_next
from worker.training import candidate, comparison

SCHEDULES = "/api/v1/schedules"
MODEL = f"{MODELS}/sample-binary"
PATIENTS, HOLDOUT = 48, 24
# The champion knows the lesion, and takes it for its absence.
WRONG = -4.0
STUDY = str(uid.generate_uid(ROOT, [name(1), "1"]))
LEARNS = QUICK | {"epochs": 30}

# Each of these trains, which takes long; what they do to the database is little.
only_sqlite = pytest.mark.parametrize("any_prepared", ["prepared"], indirect=True)
only_postgresql = pytest.mark.parametrize("any_prepared", ["postgres_prepared"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path, any_api: Api) -> Path:
    """Half of the patients judge: the first ones, of whom there are two films each, which their label speaks of."""
    store(any_api, PATIENTS)
    second = ((name(at), film(name(at), 1, PATIENTS + at, level=level_of(at), side=32)) for at in range(HOLDOUT))
    assert any_api.post("/api/v1/uploads", data=zipped(second), **ZIP).status_code == 201
    label(any_api, range(PATIENTS), lambda at: at % 2)
    return tmp_path


def begin(api: Api, folder: Path, *, slope: float = WRONG, package: Any = MappingProxyType({}), **policy: Any) -> None:
    register(api, folder, slope=slope, gate={"least_of_each": 12} | policy, **package)


def label(api: Api, patients: range, value: Any) -> None:
    rows = [
        {
            "patient_id": name(at),
            "finding": "lesion",
            "value": value(at),
            "source": "ward",
            "split": "holdout" if at < HOLDOUT else "val" if at % 6 < 2 else "train",
        }
        for at in patients
    ]
    answer = api.post(LABELS, json={"labels": rows})
    assert answer.json["refused"] == 0, answer.json


def states(api: Api) -> dict[int, str]:
    return {one["version"]: one["state"] for one in api.get(MODELS).json["items"]}


def gate(api: Api, version: int) -> Any:
    answer = api.get(f"{MODEL}/versions/{version}/gate")
    assert answer.status_code == 200, answer.text
    return answer.json


def asked_of(api: Api) -> int:
    """The version that a new job for the name gets."""
    answer = api.post(JOBS, json={"model": "sample-binary", "studies": [STUDY], "dry_run": True})
    assert answer.status_code == 200, answer.text
    return int(answer.json["model"]["version"])


def predict(api: Api) -> str:
    answer = api.post(JOBS, json={"model": "sample-binary", "studies": [STUDY]})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def decided(api: Api, job_id: str) -> tuple[int, bool]:
    """By which version, and whether it says that the lesion is there."""
    report_on_all(api.prepared.engine)
    (report,) = api.get(f"/api/v1/reports?job={job_id}").json["items"]
    return report["model"]["version"], report["findings"][0]["decision"]


@only_postgresql
def test_better_version_serves_and_no_other_does(any_api: Api, runtime: Runtime, folder: Path) -> None:
    begin(any_api, folder)

    learnt = train(any_api, runtime, LEARNS)["training"]
    first = gate(any_api, 2)
    again = train(any_api, runtime, LEARNS)["training"]
    label(any_api, range(HOLDOUT, PATIENTS), lambda at: at // 2 % 2)
    confused = train(any_api, runtime, LEARNS)["training"]

    assert (learnt["model"], learnt["gate"]) == ("sample-binary:2", {"outcome": "promoted", "reasons": []})
    assert (again["model"], again["gate"]["outcome"]) == ("sample-binary:2", "held")
    assert again["gate"]["reasons"][0].startswith("it is not shown to be better: its AUC is +0.0000 from")
    assert (confused["model"], confused["gate"]["outcome"]) == ("sample-binary:3", "held")
    assert states(any_api) == {1: "retired", 2: "champion", 3: "held"}
    assert asked_of(any_api) == 2
    told = any_api.get(f"{MODEL}/promotions").json["items"]
    assert [(one["version"], one["by_gate"]) for one in told] == [(2, True), (1, False)]
    check_invariants(runtime.engine)

    assert (first["outcome"], first["version"], first["champion"]) == ("promoted", 2, 1)
    assert first["dataset"] == learnt["dataset"] == first["digests"]["dataset"]
    assert first["policy"]["least_of_each"] == 12
    (lesion,) = first["measures"]["findings"]
    assert (lesion["candidate"]["auc"], lesion["champion"]["auc"]) == (1.0, 0.0)
    assert (lesion["candidate"]["sensitivity"], lesion["champion"]["sensitivity"]) == (1.0, 0.0)
    assert lesion["candidate"]["roc"][0] == [0.0, 0.0]
    assert first["measures"]["subgroups"] == [], "all are alike"
    used = {"patients": HOLDOUT, "new_patients": HOLDOUT, "times_before": 0, "champion_origin_known": False}
    assert first["holdout"] == used
    later = gate(any_api, 3)["holdout"]
    assert later == used | {"new_patients": 0, "times_before": 2, "champion_origin_known": True}
    assert any_api.get(f"{MODEL}/versions/1/gate").status_code == 404

    assert gate(any_api, 2) == first, "that it came once more, and was compared with itself, hides nothing"
    card, page = any_api.get(f"{MODEL}/versions/2/card").json, any_api.get(f"{MODEL}/versions/2/card.html").text
    assert (card["began_with"], card["origin_known"]) == ("sample-binary:1", True)
    assert card["data"]["holdout"]["patients"] == HOLDOUT
    assert "Its figures are of 24 patients" in " ".join(card["limits"])
    # Loss by epoch, ROC, and how far probabilities mean what they say: two curves in each.
    assert (page.count("<svg"), page.count("<polyline")) == (3, 6)


@only_sqlite
def test_policy_that_asks_for_new_patients_holds(any_api: Api, runtime: Runtime, folder: Path) -> None:
    begin(any_api, folder, new_patients=HOLDOUT + 1)

    nights = [train(any_api, runtime, LEARNS | {"seed": seed})["training"]["gate"] for seed in (0, 1)]

    asked_for = "the holdout has 24 patients whom no earlier gate has used, and 25 are asked for: label more"
    assert nights == [{"outcome": "held", "reasons": [asked_for]}] * 2, "what measures nothing uses nobody up"
    assert states(any_api) == {1: "champion", 2: "held", 3: "held"}


@only_sqlite
def test_champion_that_has_learnt_nothing_is_no_yardstick(any_api: Api, runtime: Runtime, folder: Path) -> None:
    """It calls everybody positive, and no sensitivity is higher than that."""
    finding = {"code": "lesion", "display": "Lesion", "threshold": 0.0}
    untrained = {"data_digest": "", "description": "Not trained.", "trained": False}
    begin(any_api, folder, package={"findings": [finding], "training": untrained}, primary="sensitivity")
    job_id = predict(any_api)
    infer_next(runtime)
    decided(any_api, job_id)

    found = train(any_api, runtime, LEARNS)["training"]["gate"]

    assert found == {"outcome": "promoted", "reasons": []}
    decision = gate(any_api, 2)
    assert (decision["policy"]["primary"], decision["policy"]["margins"]["sensitivity"]) == ("auc", 1.0)
    assert decision["holdout"]["champion_origin_known"]
    (report,) = any_api.get(f"/api/v1/reports?job={job_id}").json["items"]
    assert any_api.get(f"/api/v1/reports/{report['id']}").json["document"]["untrained"]
    assert "has learnt nothing yet" in any_api.get(f"/api/v1/reports/{report['id']}.html").text
    cards = [" ".join(any_api.get(f"{MODEL}/versions/{at}/card").json["limits"]) for at in (1, 2)]
    assert ["It is untrained" in card for card in cards] == [True, False]


@pytest.mark.parametrize(
    ("before", "promotes", "reasons", "outcome", "after"),
    [
        (ModelState.CANDIDATE, True, [], GateOutcome.PROMOTED, ModelState.CHAMPION),
        (ModelState.CANDIDATE, False, [], GateOutcome.PASSED, ModelState.CANDIDATE),
        (ModelState.CANDIDATE, True, ["no"], GateOutcome.HELD, ModelState.HELD),
        (ModelState.HELD, True, [], GateOutcome.PROMOTED, ModelState.CHAMPION),
        (ModelState.RETIRED, True, [], GateOutcome.PASSED, ModelState.RETIRED),
        (ModelState.RETIRED, True, ["no"], GateOutcome.HELD, ModelState.RETIRED),
        (ModelState.REJECTED, True, [], GateOutcome.PASSED, ModelState.REJECTED),
    ],
)
def test_what_passes_serves_unless_a_person_had_a_say(
    any_api: Api, tmp_path: Path, before: ModelState, promotes: bool, reasons: list[str], outcome: Any, after: Any
) -> None:
    begin(any_api, tmp_path)
    job_id = submit(any_api, QUICK)
    sha256 = new_sha256()
    with UnitOfWork(any_api.prepared.engine) as uow:
        session = uow.session
        serving = session.scalars(select(ModelVersion)).one()
        version = add_model(session, "sample-binary", description="the next")
        version.state = before
        session.add(Blob(sha256=sha256, size_bytes=0, media_type="text/plain", created_at=utc_now()))
        dataset = Dataset(blob_sha256=sha256, model="sample-binary", counts={}, created_at=utc_now())
        session.add(dataset)
        session.flush()
        record = {"policy": {"promotes": promotes}, "measures": {}}
        found = decide(session, session.get_one(Job, UUID(job_id)), version, serving, dataset, reasons, record)
        assert (found.outcome, version.state) == (outcome, after)
        session.refresh(serving)
        assert serving.state is (ModelState.RETIRED if outcome is GateOutcome.PROMOTED else ModelState.CHAMPION)
        acts = session.scalars(select(AuditEvent.detail).where(AuditEvent.action == "model.judge")).all()
        assert [one["outcome"] for one in acts] == [outcome]


@only_sqlite
def test_version_is_compared_with_how_things_stand_when_it_comes(
    any_api: Api, runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the gate compares, a version as good is promoted; while it compares again, another gate is over."""
    begin(any_api, folder, slope=WRONG)
    rival = folder / "rival"
    register(any_api, rival, slope=-WRONG, gate={"least_of_each": 12})
    compare, asked = candidate.compare, []

    def interrupted(runtime: Runtime, dataset: Dataset, *given: Any) -> Any:
        found = compare(runtime, dataset, *given)
        if not asked:
            assert any_api.post(f"{MODEL}/versions/2/promote", json={}).status_code == 200
        elif len(asked) == 1:
            other_id = submit(any_api, QUICK)
            assert any_api.post(f"{JOBS}/{other_id}/cancel").status_code in (200, 202)
            with UnitOfWork(any_api.prepared.engine) as uow:
                other = uow.session.get_one(Job, UUID(other_id))
                version = uow.session.get_one(ModelVersion, found.champion_id)
                decide(uow.session, other, version, version, dataset, ["no"], found.record)
        asked.append(found.champion_id)
        return found

    monkeypatch.setattr(candidate, "compare", interrupted)
    found = train(any_api, runtime, LEARNS)["training"]

    assert (len(asked), len(set(asked))) == (3, 2)
    assert gate(any_api, 3)["holdout"]["times_before"] == 1
    assert (found["model"], found["gate"]["outcome"]) == ("sample-binary:3", "held")
    assert gate(any_api, 3)["champion"] == 2
    assert states(any_api) == {1: "retired", 2: "champion", 3: "held"}


@only_sqlite
@pytest.mark.parametrize("stage", ["rolled_up", "judge"])
def test_worker_that_stops_while_it_judges_leaves_the_rest_to_another(
    any_api: Api, runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """What ends a stage between two patients or findings also says, between them, that the worker lives."""
    begin(any_api, folder)
    begun = getattr(comparison, stage)

    def stopped(*given: Any) -> Any:
        runtime.stopping.set()
        return begun(*given)

    monkeypatch.setattr(comparison, stage, stopped)
    job_id = train(any_api, runtime, LEARNS)["id"]

    assert states(any_api) == {1: "champion"}
    assert [move["after"] for move in any_api.get(f"{JOBS}/{job_id}/history").json["items"]][-1] == "queued"
    monkeypatch.undo()
    runtime.stopping.clear()
    train_next(runtime)
    assert any_api.get(f"{JOBS}/{job_id}").json["training"]["gate"] == {"outcome": "promoted", "reasons": []}


@only_sqlite
def test_night_from_schedule_to_promotion_and_back(any_api: Api, runtime: Runtime, folder: Path) -> None:
    """Fired, frozen, trained by two processes, judged, promoted; who was asked before keeps its version."""
    begin(any_api, folder)
    asked_before = predict(any_api)
    night = {"model": "sample-binary", "options": LEARNS | {"workers": 2}}
    added = any_api.post(SCHEDULES, json={"name": "night", "cron": "0 2 * * *", "training": night})
    assert added.status_code == 201, added.text
    morning = datetime.fromisoformat(added.json["next_fires"][0]) + timedelta(minutes=1)

    Calendar(any_api.prepared.engine, NoHints(), runtime.settings, now=lambda _session: morning).run()
    train_next(runtime)

    (fire,) = any_api.get(f"{SCHEDULES}/night/runs").json["items"]
    trained = any_api.get(f"{JOBS}/{fire['job_id']}").json
    assert (fire["state"], trained["state"]) == ("fired", "done")
    assert trained["training"]["gate"] == {"outcome": "promoted", "reasons": []}
    asked_after = predict(any_api)
    infer_next(runtime)
    infer_next(runtime)
    before, after = decided(any_api, asked_before), decided(any_api, asked_after)
    assert (before, after) == ((1, False), (2, True)), "the second patient has the lesion"

    assert any_api.post(f"{MODEL}/versions/2/rollback", json={}).status_code == 200
    assert asked_of(any_api) == 1
    assert decided(any_api, asked_after) == after, "what was reported stays"
