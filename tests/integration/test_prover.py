"""A registered model -> proof of its engines -> the table in the API -> the engine that serves, on each database."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.db import db_now, reading
from shared.models import AuditEvent, EngineProof, Prediction
from shared.repositories.proofs import claim_proof
from shared.states import ProofState
from tests.cohorts import films
from tests.conftest import Api
from tests.model_samples import accept_everything_package, add_golden_set, zip_package
from worker.engines.proof import MIN_INPUTS
from worker.prover import MAX_TRIES, Prover
from worker.runtime import Runtime
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}
MARKED = "tests.engine_targets:load_marked"
NAME = "sample-binary"
STEEP = 100.0  # no film's probability is close to the threshold
TABLE = f"/api/v1/models/{NAME}/versions/1/engines"


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast engines are is not what these tests ask."""
    monkeypatch.setattr("worker.engines.proof.ROUND_S", 0.01)


def register(api: Api, folder: Path, *, golden: int = 0, off_by: float = 0.0, **changes: Any) -> None:
    package = accept_everything_package(folder / "model", **changes)
    if golden:
        add_golden_set(package, golden, off_by=off_by, slope=changes.get("slope", 4.0))
    answer = api.post("/api/v1/models", data=zip_package(package, folder / "model.zip").read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


def proofs(api: Api) -> list[dict[str, Any]]:
    return list(api.get(TABLE).json["items"])


def predict(api: Api, runtime: Runtime, count: int) -> list[Prediction]:
    assert api.post("/api/v1/jobs", data=films("P", count), **ZIP).status_code == 202
    infer_next(runtime)
    with reading(api.prepared.engine) as session:
        return list(session.scalars(select(Prediction)))


def test_proved_engine_is_in_the_table_and_on_every_prediction(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS, slope=STEEP)
    assert proofs(any_api) == []

    assert Prover(runtime).prove_next()

    (proof,) = proofs(any_api)
    assert (proof["state"], proof["num_inputs"], proof["num_drawn"]) == ("done", MIN_INPUTS, 0)
    assert proof["hardware"] == runtime.hardware.words
    assert proof["worker"] == runtime.name
    assert proof["tolerance"] == 0.01
    rows = {(row["engine"], row["precision"]): row for row in proof["engines"]}
    assert rows.keys() == {("keras", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")}
    assert rows["keras", "float32"]["max_difference"] < 1e-5
    assert rows["openvino", "float32"]["standing"] == "passed"
    (serving,) = [row for row in proof["engines"] if row["serves"]]
    found = predict(any_api, runtime, 3)
    assert {(one.engine, one.precision, one.batch_size) for one in found} == {
        (serving["engine"], serving["precision"], serving["part_size"] or max(serving["batch_sizes"]))
    }
    assert not Prover(runtime).prove_next(), "what is proved is not proved again"


def test_share_of_repeats_is_a_metric(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS, slope=0.001)  # every probability is close to 0.5, the threshold
    add_row(runtime, any_api, "openvino", "float32", [1, 32])

    found = predict(any_api, runtime, 5)

    assert {(one.engine, one.batch_size) for one in found} == {("keras", 32)}
    metrics = any_api.get("/metrics").text
    assert "overread_frames_predicted 5.0" in metrics
    assert "overread_frames_repeated 5.0" in metrics


def add_row(runtime: Runtime, api: Api, engine: str, precision: str, batch_sizes: list[int], **given: object) -> None:
    """As if this engine had been proved to be the fastest."""
    digest = api.get("/api/v1/models").json["items"][0]["digest"]
    with runtime.unit_of_work() as uow:
        claim_proof(uow.session, digest, runtime.hardware, "worker-1", 60.0, max_tries=1)
        row = {
            "engine": engine,
            "precision": precision,
            "is_reference": False,
            "serves": True,
            "batch_sizes": batch_sizes,
        } | given
        uow.session.execute(update(EngineProof).values(state=ProofState.DONE, engines=[row]))


def test_engine_that_was_proved_serves_and_repeats_nothing_far_from_a_threshold(
    any_api: Api, runtime: Runtime, tmp_path: Path
) -> None:
    register(any_api, tmp_path, slope=STEEP)
    add_row(runtime, any_api, "openvino", "float32", [1, 32])

    found = predict(any_api, runtime, 5)

    assert {(one.engine, one.precision, one.batch_size) for one in found} == {("openvino", "float32", 32)}
    assert "overread_frames_repeated 0.0" in any_api.get("/metrics").text


def test_engine_that_was_proved_in_parts_serves_in_parts(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, slope=STEEP)
    add_row(runtime, any_api, "openvino", "float32", [32], part_size=2)

    found = predict(any_api, runtime, 5)

    assert {(one.engine, one.batch_size) for one in found} == {("openvino", 2)}


def test_operator_can_have_the_reference_serve(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path)
    add_row(runtime, any_api, "openvino", "float32", [32])
    runtime.settings = runtime.settings.model_copy(update={"engine": "reference"})

    assert {one.engine for one in predict(any_api, runtime, 2)} == {"keras"}


def test_proof_waits_for_images_and_says_so_then_draws_them(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=5)
    prover = Prover(runtime, target=MARKED)

    assert not prover.prove_next()
    (waiting,) = proofs(any_api)
    any_api.post("/api/v1/uploads", data=films("P", MIN_INPUTS - 5), **ZIP)
    assert prover.prove_next()

    assert (waiting["state"], waiting["engines"]) == ("waiting", [])
    assert f"{MIN_INPUTS} inputs are needed: the package's golden set has 5" in waiting["detail"]
    (proof,) = proofs(any_api)
    assert (proof["num_inputs"], proof["num_drawn"]) == (MIN_INPUTS, MIN_INPUTS - 5)


def test_images_that_the_model_does_not_accept_are_not_drawn(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, accepts={"modalities": ["MG"]})
    any_api.post("/api/v1/uploads", data=films("P", MIN_INPUTS), **ZIP)

    assert not Prover(runtime, target=MARKED).prove_next()
    assert "0 frames that the model accepts" in proofs(any_api)[0]["detail"]


def test_reference_that_differs_from_the_package_is_told(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS, off_by=-0.02, slope=0.5)

    assert Prover(runtime).prove_next()

    (proof,) = proofs(any_api)
    reference = proof["engines"][0]
    assert (reference["standing"], reference["serves"]) == ("failed", True)
    assert "away from what the package states" in reference["detail"]


def test_package_that_cannot_be_loaded_fails_its_proof_once(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS, findings=[{"code": "a", "display": "A", "threshold": 0.5}])
    digest = any_api.get("/api/v1/models").json["items"][0]["digest"]
    with reading(any_api.prepared.engine) as session:
        from shared.repositories.registry import numbered

        version = numbered(session, NAME, 1)
    assert version is not None
    assert version.digest == digest
    runtime.store.path(version.weights_sha256).unlink()

    assert Prover(runtime).prove_next()
    assert not Prover(runtime).prove_next()

    (proof,) = proofs(any_api)
    assert proof["state"] == "failed"
    assert "register the package again" in proof["detail"]


def test_only_one_worker_proves_and_another_takes_over_when_it_is_lost(
    any_api: Api, runtime: Runtime, tmp_path: Path
) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS)
    digest = any_api.get("/api/v1/models").json["items"][0]["digest"]
    with runtime.unit_of_work() as uow:
        first = claim_proof(uow.session, digest, runtime.hardware, "lost", 60.0, max_tries=MAX_TRIES)
    assert first is not None
    prover = Prover(runtime, target=MARKED)

    assert not prover.prove_next(), "somebody is at it"
    let_leases_run_out(runtime)
    assert prover.prove_next()

    (proof,) = proofs(any_api)
    assert (proof["state"], proof["worker"]) == ("done", runtime.name)
    with reading(any_api.prepared.engine) as session:
        acts = session.scalars(select(AuditEvent.action).where(AuditEvent.action == "engines.prove")).all()
    assert len(acts) == 1


def let_leases_run_out(runtime: Runtime) -> None:
    with runtime.unit_of_work() as uow:
        uow.session.execute(update(EngineProof).values(lease_until=db_now(-1.0)))


def test_proof_fails_when_it_ended_three_workers(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS)
    digest = any_api.get("/api/v1/models").json["items"][0]["digest"]
    for number in range(MAX_TRIES):
        with runtime.unit_of_work() as uow:
            claim = claim_proof(uow.session, digest, runtime.hardware, f"w{number}", 60.0, max_tries=MAX_TRIES)
        assert claim is not None
        let_leases_run_out(runtime)

    assert not Prover(runtime, target=MARKED).prove_next()

    (proof,) = proofs(any_api)
    assert (proof["state"], proof["detail"]) == (
        "failed",
        "it ended its worker or engine 3 times; the reference serves",
    )


def test_stopped_prover_gives_its_proof_back(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS)
    prover = Prover(runtime, target=MARKED)
    prover.end()

    prover.prove_next()

    (proof,) = proofs(any_api)
    assert proof["state"] == "waiting"
    assert Prover(runtime, target=MARKED).prove_next()


def test_engine_that_does_not_start_is_tried_again_after_a_while(
    any_api: Api, runtime: Runtime, tmp_path: Path
) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS)

    assert Prover(runtime, target="tests.engine_targets:nothing").prove_next()

    (proof,) = proofs(any_api)
    assert (proof["state"], proof["engines"]) == ("waiting", [])
    assert "cannot start" in proof["detail"]
    assert not Prover(runtime, target=MARKED).prove_next(), "not at once"
    let_leases_run_out(runtime)
    assert Prover(runtime, target=MARKED).prove_next()
    assert proofs(any_api)[0]["state"] == "done"


def test_operator_can_have_engines_proved_again(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path, golden=MIN_INPUTS)
    Prover(runtime, target=MARKED).prove_next()

    answer = any_api.post(TABLE)

    assert answer.status_code == 202
    (waiting,) = answer.json["items"]
    assert (waiting["state"], waiting["engines"], waiting["finished_at"]) == ("waiting", [], None)
    assert Prover(runtime, target=MARKED).prove_next()
    assert proofs(any_api)[0]["state"] == "done"
    assert any_api.post("/api/v1/models/none/versions/1/engines").status_code == 404


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")], ids=["gone", "damaged"])
def test_golden_set_that_is_gone_holds_up_no_other_model(
    any_api: Api, runtime: Runtime, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    register(any_api, tmp_path / "good", golden=MIN_INPUTS + 1)
    register(any_api, tmp_path / "bad", golden=MIN_INPUTS, name="other")
    golden = tmp_path / "bad" / "model" / "golden.npz"
    damage(runtime.store.path(hashlib.sha256(golden.read_bytes()).hexdigest()))

    assert Prover(runtime, target=MARKED).prove_next()

    assert proofs(any_api)[0]["state"] == "done"
    (waiting,) = any_api.get("/api/v1/models/other/versions/1/engines").json["items"]
    assert waiting["state"] == "waiting"
    assert waiting["detail"] == "the stored golden set is gone or damaged; register the package again"


def test_unknown_version_has_no_table(any_api: Api) -> None:
    assert any_api.get("/api/v1/models/none/versions/1/engines").status_code == 404
