"""The numbers of a report come back from each database as they went in, whatever files and packages say."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import Evidence, InstanceEvidence, StudyFacts
from scheduler.aggregation.report import Aggregation
from shared.db import reading
from shared.dicom.planes import planes_of_document
from shared.model_contract import ModelContract
from shared.models import Instance, Report
from shared.reports.digest import content_digest
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.states import Explain
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Prepared
from tests.factories import add_model, submit_job
from tests.model_samples import contract_fields
from tests.slice_samples import AXIAL

# Floats of 1e16 and more, and -0.0, do not come back from every database (shared.reports.digest).
TOO_LARGE = 1e16
LESION = {"code": "lesion", "display": "Lesion", "threshold": -0.0}
HOSTILE = (0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e-7, 0.0015, 99_999.99, -1e5, 1e5, 1e16, 1e300)
coordinates = st.one_of(st.sampled_from(HOSTILE), st.floats(-2e5, 2e5))


def _floats(found: Any) -> Iterator[float]:
    if isinstance(found, float):
        yield found
    for part in found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ():
        yield from _floats(part)


def _is_kept(number: float) -> bool:
    return math.isfinite(number) and abs(number) < TOO_LARGE and not (number == 0 and math.copysign(1, number) < 0)


@given(
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=6),
    st.lists(st.sampled_from((0.0, 5e-324, 1e-7, 0.3, 1.0)), min_size=6, max_size=6),
    st.sampled_from(["max", "mean", "noisy_or", "majority"]),
)
def test_document_holds_no_number_that_a_database_changes(
    positions: list[tuple[float, float, float]], probabilities: list[float], rule: str
) -> None:
    rules = {level: {"kind": rule} for level in ("frames", "instances", "series", "studies")}
    contract = ModelContract.model_validate(contract_fields(findings=[LESION], aggregation=rules))
    instances = tuple(
        InstanceEvidence(
            f"{number:064d}",
            f"1.4.{number}",
            "1.3",
            1,
            conflict=False,
            frames=((1, (probability,)),),
            planes=planes_of_document([[list(AXIAL), list(position)]]),
        )
        for number, (position, probability) in enumerate(zip(positions, probabilities, strict=False))
    )

    document = build_document(contract, Evidence((StudyFacts(1, "1.2", "20260101", "", conflict=False),), instances))

    assert all(map(_is_kept, _floats(document)))


@pytest.mark.parametrize("probability", [0.0, -0.0, 5e-324, 1e-7, 0.1 + 0.2, 1.0])
def test_content_digest_is_that_of_what_the_database_gives_back(any_prepared: Prepared, probability: float) -> None:
    engine = any_prepared.engine
    with UnitOfWork(engine) as uow:
        version = add_model(uow.session, findings=[LESION])
        origin = Provenance(version.digest, "keras", "float32", explained=Explain.NONE)
    submit_job(engine, len(HOSTILE))
    with UnitOfWork(engine) as uow:
        instances = uow.session.scalars(select(Instance)).all()
        for one, place in zip(instances, HOSTILE, strict=True):
            planes = [[list(AXIAL), [0.0, -0.0, place]]]
            uow.session.execute(update(Instance).where(Instance.id == one.id).values(planes=planes))
        predictions = [NewPrediction(one.blob_sha256, 1, [probability]) for one in instances]
        add_predictions(uow.session, predictions, origin)
    claimed = take(engine, "worker-1")
    assert claimed is not None
    commit(engine, claimed)

    assert Aggregation(engine).run() == 1

    with reading(engine) as session:
        report = session.scalars(select(Report)).one()
    assert content_digest(report.document) == report.content_digest
    assert report.document["series"][0]["stacks"][0]["spacing_mm"] > 0
    assert all(map(_is_kept, _floats(report.document)))
