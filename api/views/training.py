"""How far a training run is, and what the gate said of its result."""

from api.schemas.training import GateDecisionShown, GateShown, GateTold, TrainingShown
from shared.models import GateDecision, Job, ModelVersion, TrainingRun
from shared.states import FINAL_JOB_STATES
from shared.training_options import TrainingOptions

NOT_BEGUN = "waiting"


def training_shown(job: Job, run: TrainingRun, *, whole: bool) -> TrainingShown:
    """The run as it was last told, or as its job ended; its history only where it is shown whole."""
    version = run.model_version
    told = run.progress
    phase = told.get("phase", NOT_BEGUN)
    if job.state in FINAL_JOB_STATES and phase not in FINAL_JOB_STATES:
        phase = job.state.value  # it was cancelled, or set aside: nobody was there to say so
    options = TrainingOptions.model_validate(run.options)
    return TrainingShown(
        options=options,
        phase=phase,
        why=told.get("why"),
        dataset=run.dataset.blob_sha256 if run.dataset else None,
        read=told.get("read", 0),
        to_read=told.get("to_read"),
        epoch=told.get("epoch", 0),
        epochs=options.epochs,
        step=told.get("step", 0),
        steps=told.get("steps"),
        loss=told.get("loss"),
        eta_s=told.get("eta_s") if phase == "training" else None,
        history=told.get("history", []) if whole else [],
        model=f"{version.name}:{version.version}" if version else None,
        gate=GateTold.model_validate(run.gate_decision) if run.gate_decision else None,
    )


def decision_shown(decision: GateDecision) -> GateDecisionShown:
    """The decision in short, as lists have it."""
    return GateDecisionShown(
        model=decision.model_version.name,
        version=decision.model_version.version,
        champion=decision.champion.version,
        outcome=decision.outcome,
        reasons=decision.reasons,
        created_at=decision.created_at,
    )


def gate_shown(version: ModelVersion, decision: GateDecision) -> GateShown:
    """The decision on a version, whole."""
    return GateShown(
        version=version.version,
        champion=decision.champion.version,
        dataset=decision.dataset.blob_sha256,
        outcome=decision.outcome,
        reasons=decision.reasons,
        created_at=decision.created_at,
        **decision.record,
    )
