"""From a registered model version to what the engines serve: the fastest engine that was proved, else the reference."""

from sqlalchemy.orm import Session

from shared.model_contract import ModelContract
from shared.models import ModelVersion
from shared.repositories.proofs import serving_engine
from worker.engines.base import REFERENCE, EngineChoice
from worker.engines.requests import ServedModel
from worker.runtime import Runtime


def served_model(runtime: Runtime, session: Session, version: ModelVersion) -> ServedModel:
    """The package, in the engine in which this worker is to serve it now."""
    contract = ModelContract.model_validate(version.contract)
    choice = REFERENCE
    row = serving_engine(session, version.digest, runtime.hardware) if runtime.settings.engine == "fastest" else None
    if row is not None and not row["is_reference"]:
        choice = EngineChoice.of_row(row)
    return ServedModel(version.digest, contract, runtime.store.path(version.weights_sha256), choice)
