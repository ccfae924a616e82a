"""A model version, and its card."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.schemas.model_cards import ModelCard
from api.schemas.operations import ModelShown, PromotionShown
from api.schemas.training import GateShown
from api.views.training import gate_shown, training_shown
from shared.errors import NotFoundError
from shared.model_contract import ModelContract
from shared.models import ModelVersion, Promotion
from shared.repositories.gates import decision_on, is_of_known_origin
from shared.repositories.jobs import get_job
from shared.repositories.registry import numbered, promotions_of
from shared.repositories.training import run_that_made
from shared.states import GateOutcome

TOLD = ("task", "description", "intended_use", "licence", "findings")
TAKES = ("accepts", "input", "preprocess", "slices")
ROLLS_UP = ("aggregation", "time_scope")


def known_version(session: Session, name: str, number: int) -> ModelVersion:
    """A version by its number; raises NotFoundError."""
    version = numbered(session, name, number)
    if version is None:
        raise NotFoundError("There is no such model version.")
    return version


def model_shown(version: ModelVersion) -> ModelShown:
    """What it is, of its contract, and its standing."""
    return ModelShown(
        name=version.name,
        version=version.version,
        state=version.state,
        digest=version.digest,
        created_at=version.created_at,
        **{name: version.contract[name] for name in TOLD},
    )


def promotion_shown(promotion: Promotion) -> PromotionShown:
    """That a version began to serve, and who chose it."""
    by_gate, principal = promotion.gate_decision_id is not None, promotion.principal
    return PromotionShown(
        version=promotion.model_version.version,
        kind=promotion.kind,
        by_gate=by_gate,
        by=principal.name if principal and not by_gate else None,
        reason=promotion.reason,
        created_at=promotion.created_at,
    )


def model_card(session: Session, version: ModelVersion) -> ModelCard:
    """All that is on record of a version."""
    run, decision = run_that_made(session, version), decision_on(session, version)
    job = get_job(session, run.job_id) if run else None
    gate = gate_shown(version, decision) if decision else None
    promotions = [one for one in promotions_of(session, version.name) if one.model_version_id == version.id]
    origin_known = is_of_known_origin(session, version.id)
    base = f"/api/v1/models/{version.name}/versions/{version.version}"
    contract = version.contract
    return ModelCard(
        model=model_shown(version),
        takes={name: contract.get(name) for name in TAKES},
        rolls_up={name: contract[name] for name in ROLLS_UP},
        stated_training=contract["training"],
        origin_known=origin_known,
        began_with=f"{job.model_version.name}:{job.model_version.version}" if job else None,
        job=run.job_id if run else None,
        training=training_shown(job, run, whole=True) if job and run else None,
        data=run.dataset.counts["splits"] if run and run.dataset else None,
        gate=gate,
        promotions=[promotion_shown(one) for one in promotions],
        limits=list(_limits(contract, gate, origin_known=origin_known)),
        links={"self": f"{base}/card", "html": f"{base}/card.html", "engines": f"{base}/engines"},
    )


def _limits(contract: dict[str, Any], gate: GateShown | None, *, origin_known: bool) -> Iterator[str]:
    yield "What it gives is preliminary until a physician has reviewed and signed it."
    if ModelContract.model_validate(contract).is_untrained:
        yield "It is untrained: its weights are as they were drawn, and what it gives means nothing."
    accepts = contract["accepts"]
    named = {
        "modality": accepts["modalities"],
        "body part": accepts["body_parts"],
        "photometric interpretation": accepts["photometric_interpretations"],
    }
    for noun, values in named.items():
        if values:
            yield f"It takes {noun} {', '.join(values)}, and nothing else."
    if not all(finding.get("calibration") for finding in contract["findings"] if not finding["background"]):
        yield "Its probabilities are not all calibrated: 0.7 need not mean that seven in ten have the finding."
    if not origin_known:
        yield "What its weights learnt from is not on record here: patients of the holdout may have been among it."
    if gate is None:
        yield "No other version was compared with it on patients who are held out: how good it is, is not known here."
        return
    if gate.outcome is GateOutcome.HELD:
        yield f"The gate held it, against version {gate.champion}: {'; '.join(gate.reasons)}."
    if not gate.measures:
        yield "Nothing could be measured on patients who are held out."
        return
    yield f"Its figures are of {gate.holdout['patients']} patients, labelled by people, of this installation."
    yield _told_apart(gate.measures["subgroups"])


def _told_apart(subgroups: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(f"{one['by']} {one['value']}" for one in subgroups))
    if not names:
        return "No site, scanner, sex or age band of its patients was looked at by itself."
    return f"Looked at by themselves were {', '.join(names)}, and no other group."
