"""What a worker tells its training process to do, and where it finds what it learns from: plain JSON in a file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.training_options import TrainingOptions

# Kinds of the lines that the process writes.
STEP, EPOCH, CHECKPOINT, DONE, REFUSED, FULL = "step", "epoch", "checkpoint", "done", "refused", "full"
CHECKPOINT_FILE = "checkpoint.npz"


class TrainingOrder(BaseModel):
    """Paths, and for each sample of the snapshot, in its order, how many frames it has in the file of frames.

    While there is something at `pause`, no step begins. The path of `ray_folder` is short: Ray makes sockets in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    contract: str
    weights: Path
    dataset: Path
    dataset_sha256: str
    frames: Path
    frame_counts: tuple[int, ...]
    options: TrainingOptions
    checkpoint: Path | None
    checkpoint_every_s: float
    out: Path
    ray_folder: Path
    pause: Path
