"""How far a training run is."""

from sqlalchemy.orm import Session

from api.schemas.training import TrainingShown
from shared.models import Dataset, Job, ModelVersion, TrainingRun
from shared.states import FINAL_JOB_STATES
from shared.training_options import TrainingOptions

NOT_BEGUN = "waiting"


def training_shown(session: Session, job: Job, run: TrainingRun, *, whole: bool) -> TrainingShown:
    """The run as it was last told, or as its job ended; its history only where it is shown whole."""
    dataset = session.get_one(Dataset, run.dataset_id) if run.dataset_id else None
    version = session.get_one(ModelVersion, run.model_version_id) if run.model_version_id else None
    told = run.progress
    phase = told.get("phase", NOT_BEGUN)
    if job.state in FINAL_JOB_STATES and phase not in FINAL_JOB_STATES:
        phase = job.state.value  # it was cancelled, or set aside: nobody was there to say so
    options = TrainingOptions.model_validate(run.options)
    return TrainingShown(
        options=options,
        phase=phase,
        why=told.get("why"),
        dataset=dataset.blob_sha256 if dataset else None,
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
    )
