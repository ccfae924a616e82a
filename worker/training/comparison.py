"""A trained version and the champion, asked about the same patients of the holdout: what goes on record of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.calibration import calibrated
from shared.datasets.document import Sample as Listed
from shared.db import reading
from shared.errors import PermanentError
from shared.model_contract import Gate, Margins, ModelContract
from shared.models import Dataset
from shared.repositories.gates import HoldoutUse, holdout_use, is_of_known_origin, people_named
from shared.repositories.registry import champion
from shared.states import Split
from worker.engines.requests import ServedModel
from worker.runtime import Runtime
from worker.training.evaluate import Evaluation
from worker.training.gate import Exam, Verdict, judge, shortage
from worker.training.metrics import Answer
from worker.training.patients import by_patient, rolled_up, truth_of
from worker.training.prepare import OnRead
from worker.training.samples import Labelled, date_of, labelled

# Patient's Sex (PS3.3 C.7.1.1); what is none of these could be anything.
SEXES = {"M": "M", "F": "F", "O": "O"}
NOT_SAID, SEVERAL = "not said", "several"
# First ages, in years, of the bands after the youngest.
AGE_BANDS = (18, 40, 65)

Patients = Mapping[str, Sequence[Labelled]]


@dataclass(frozen=True)
class Compared:
    """Against whom and on whom a candidate was judged, why it is to be held, and what goes on record of it."""

    champion_id: int
    use: HoldoutUse
    reasons: list[str]
    record: dict[str, Any]


def compare(
    runtime: Runtime,
    dataset: Dataset,
    listed: Sequence[Listed],
    candidate: ServedModel,
    folder: Path,
    on_read: OnRead,
    on_batch: Callable[[], None],
) -> Compared:
    """Judge a candidate against what serves its name now; `folder` is a scratch for the images.

    `on_batch` is called between two batches, patients or findings. Raises EngineLostError when an engine's process
    died, and what the callbacks raise to end it.
    """
    with reading(runtime.engine) as session:
        serving = champion(session, candidate.contract.name)
        assert serving is not None  # noqa: S101 - for the type checker: the first version of a name serves it
        use = holdout_use(session, dataset)
        is_known = is_of_known_origin(session, serving.id)
    rival = ServedModel(
        serving.digest,
        ModelContract.model_validate(serving.contract),
        runtime.store.path(serving.weights_sha256),
    )
    policy = _policy_of(rival.contract)
    holdout = [one for one in listed if one.split is Split.HOLDOUT]
    patients = by_patient(candidate.contract, [labelled(one) for one in holdout])
    truth = truth_of(candidate.contract, patients)
    reasons = [*_incomparable(candidate.contract, rival.contract), *_too_few_new(policy, use)]
    reasons += shortage(policy, candidate.contract.findings, truth)
    if reasons:
        verdict = Verdict(reasons, {})
    else:
        with Evaluation(runtime, holdout, folder, on_read, on_batch) as evaluation:
            verdict = _verdict(runtime, evaluation, holdout, patients, truth, candidate, rival)
    record = {
        "policy": policy.model_dump(mode="json"),
        "holdout": {"patients": len(patients), "champion_origin_known": is_known} | asdict(use),
        "measures": verdict.measures,
        "digests": {"candidate": candidate.digest, "champion": rival.digest, "dataset": dataset.blob_sha256},
        "code_version": version_of("overread"),
    }
    return Compared(serving.id, use, verdict.reasons, record)


def _policy_of(champion: ModelContract) -> Gate:
    """The champion's package's; one that has learnt nothing, and may call everything present, sets no margins."""
    if not champion.is_untrained:
        return champion.gate
    none = Margins(auc=1.0, sensitivity=1.0, specificity=1.0, calibration_error=1.0)
    return champion.gate.model_copy(update={"primary": "auc", "margins": none, "subgroup_margin": 1.0})


def _incomparable(new: ModelContract, old: ModelContract) -> Iterator[str]:
    if [one.code for one in new.findings] != [one.code for one in old.findings] or new.task != old.task:
        yield "it speaks of other findings than the champion: compare them by hand"
    if [one.background for one in new.findings] != [one.background for one in old.findings]:
        yield "it takes another finding for the background than the champion: compare them by hand"
    if (new.time_scope, new.accepts, new.slices) != (old.time_scope, old.accepts, old.slices):
        yield "it speaks of other studies or images of a patient than the champion: compare them by hand"


def _too_few_new(policy: Gate, use: HoldoutUse) -> Iterator[str]:
    if use.new_patients < policy.new_patients:
        yield (
            f"the holdout has {use.new_patients} patients whom no earlier gate has used, and {policy.new_patients} are "
            "asked for: label more"
        )


def _verdict(
    runtime: Runtime,
    evaluation: Evaluation,
    holdout: Sequence[Listed],
    patients: Patients,
    truth: NDArray[np.bool_],
    candidate: ServedModel,
    rival: ServedModel,
) -> Verdict:
    answers = []
    for who, model in (("it", candidate), ("the champion", rival)):
        try:
            scores = rolled_up(model.contract, patients, evaluation.outputs(model), evaluation.on_batch)
        except PermanentError as error:
            return Verdict([f"{who} cannot be asked about the holdout: {error.message}"], {})
        answers.append(_answers(model.contract, scores))
    with reading(runtime.engine) as session:
        people = people_named(session, list(patients))
    return judge(
        _policy_of(rival.contract),
        candidate.contract.findings,
        Exam(truth, _groups(holdout, patients, people), *answers),
        evaluation.on_batch,
    )


def _answers(contract: ModelContract, scores: NDArray[np.float64]) -> list[Answer]:
    """Of each finding, from (patients, findings) as rolled up."""
    return [
        Answer(column, finding.threshold, calibrated(finding, column))
        for finding, column in zip(contract.findings, scores.T, strict=True)
    ]


def _groups(holdout: Sequence[Listed], patients: Patients, people: Mapping[str, Any]) -> dict[str, NDArray[np.str_]]:
    """Of each patient the site, the scanner, the sex, and the age at the latest study that counts."""
    of_file = {one.sha256: one for one in holdout}

    def scanner(mine: Sequence[Labelled]) -> str:
        names = {of_file[one.sha256].scanner or NOT_SAID for one in mine}
        return names.pop() if len(names) == 1 else SEVERAL

    groups = {
        "site": [of_file[mine[0].sha256].site for mine in patients.values()],
        "scanner": [scanner(mine) for mine in patients.values()],
        "sex": [SEXES.get(people[key].patient_sex.strip().upper(), NOT_SAID) for key in patients],
        "age": [_age_band(people[key].patient_birth_date, mine) for key, mine in patients.items()],
    }
    return {kind: np.array(values, np.str_) for kind, values in groups.items()}


def _age_band(birth_date: str, studies: Sequence[Labelled]) -> str:
    born = date_of(birth_date)
    day = max((one.study_date for one in studies if one.study_date), default=None)
    if born is None or day is None:
        return NOT_SAID
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    band = sum(years >= first for first in AGE_BANDS)
    bounds = (0, *AGE_BANDS)
    return f"{bounds[band]} and over" if band == len(AGE_BANDS) else f"{bounds[band]} to {bounds[band + 1] - 1}"
