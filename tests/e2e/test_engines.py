"""A registered model is proved, served by what was proved to be the fastest, and warm again after a restart."""

import signal
from pathlib import Path
from typing import Any

from tests.cohorts import films
from tests.model_samples import accept_everything_package, add_golden_set, zip_package
from tests.system import System, eventually, running_system

PROOF_S = 300.0
WARM_S = 60.0
PATH = "/api/v1/models/sample-binary/versions/1/engines"


def proof(system: System) -> dict[str, Any] | None:
    """The finished proof."""
    items = system.http.get(PATH).json()["items"]
    return items[0] if items and items[0]["state"] in ("done", "failed") else None


def loaded(system: System) -> list[str]:
    """What the worker says it has in memory."""
    return [engine for worker in system.http.get("/api/v1/workers").json()["items"] for engine in worker["engines"]]


def test_model_is_proved_served_and_warm_after_a_restart(tmp_path: Path) -> None:
    # So steep that no film's probability is close to the threshold, where the reference would answer.
    package = add_golden_set(accept_everything_package(tmp_path / "model", slope=100.0), slope=100.0)
    with running_system() as system:
        model = system.add_model(zip_package(package, tmp_path / "model.zip"))

        found = eventually(lambda: proof(system), PROOF_S, "the engines are proved")

        assert found["state"] == "done", found
        (serving,) = [row for row in found["engines"] if row["serves"]]
        job = system.finished(system.submit(films("P", 3))["id"])
        assert job["state"] == "done"
        reports = system.reports(job["id"], 3)
        documents = [system.http.get(report["links"]["self"]).json()["document"] for report in reports]
        named = {(one["engine"], one["precision"]) for document in documents for one in document["engines"]}
        assert named == {(serving["engine"], serving["precision"])}

        system.process.send_signal(signal.SIGINT)
        system.process.wait(timeout=60)
        system.start()

        name = f"{serving['engine']}/{serving['precision']}/{model['digest'][:12]}"
        eventually(lambda: name in loaded(system), WARM_S, f"{name} is loaded before any job asks for it")
