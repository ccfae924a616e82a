"""The interface between the batches of an inference job and whatever runs the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineMemoryError

# The reference is what a package's kind of weights says: Keras, or ONNX Runtime.
REFERENCE_ENGINE, OPENVINO = "reference", "openvino"
# Differentiates Keras networks for heat maps; predicts nothing.
EXPLAINER_ENGINE = "explainer"
KERAS, ONNXRUNTIME = "keras", "onnxruntime"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
MIXED_FLOAT16, MIXED_BFLOAT16 = "mixed_float16", "mixed_bfloat16"
# How libraries say that memory is exhausted in errors of classes that say less: XLA, CUDA, cuBLAS and cuDNN, torch.
_EXHAUSTED = ("RESOURCE_EXHAUSTED", "out of memory", "_ALLOC_FAILED", "can't allocate memory")


@dataclass(frozen=True)
class EngineChoice:
    """What runs a network, in which numbers it computes, and for which sizes of batches it is compiled.

    No sizes: the one that the worker's settings say. A `part_size`: a batch is computed in parts of so many frames
    beside each other, each by its own cores; 0: all cores compute on all of its frames.
    """

    engine: str
    precision: str
    batch_sizes: tuple[int, ...] = ()
    part_size: int = 0

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "EngineChoice":
        """As the row of a proof has it that serves; what was proved before there were parts has none."""
        return cls(row["engine"], row["precision"], tuple(row["batch_sizes"]), row.get("part_size", 0))


# What every other engine is proved against, and what serves until one is.
REFERENCE = EngineChoice(REFERENCE_ENGINE, FLOAT32)
EXPLAINER = EngineChoice(EXPLAINER_ENGINE, FLOAT32, (1, 8))


class Loaded(Protocol):
    """A loaded model package; safe to call from any thread, one call at a time."""

    @property
    def name(self) -> str:
        """What runs the network; recorded on every prediction."""

    @property
    def precision(self) -> str:
        """The numbers it computes in, such as `float32`; recorded on every prediction."""

    @property
    def map_shape(self) -> tuple[int, int] | None:
        """Rows and columns of its heat maps; None where it gives none."""


class Engine(Loaded, Protocol):
    """Ready to predict."""

    def predict_with_maps(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Give the probabilities of the findings, as `predict` does, and what each cell of the frame adds to them.

        Returns
        -------
        Probabilities, and heat maps, float32 (batch, findings, map rows, map columns), in units of the logit; None
        where the engine has none.
        """

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the probabilities of the findings.

        Parameters
        ----------
        batch
            float32 (batch, rows, columns, channels), preprocessed as the contract says.

        Returns
        -------
        float32 (batch, findings), in [0, 1], in the contract's order; a row is NaN where the network gave no
        probabilities for that frame.
        """


class Explainer(Loaded, Protocol):
    """Ready to compute heat maps; predicts nothing."""

    def explain(self, batch: NDArray[np.float32], wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Give the heat maps of some findings.

        Parameters
        ----------
        batch
            float32 (batch, rows, columns, channels), preprocessed as the contract says.
        wanted
            bool (batch, findings): of which findings of which frames.

        Returns
        -------
        float32 (batch, findings, map rows, map columns), in units of the logit; 0 where none is wanted.
        """


def is_memory_exhausted(error: BaseException) -> bool:
    """Whether an engine failed for want of memory: Python's own error, ours, TensorFlow's, XLA's or torch's."""
    if isinstance(error, MemoryError | EngineMemoryError) or type(error).__name__ in {
        "ResourceExhaustedError",
        "OutOfMemoryError",
    }:
        return True
    return any(words in str(error) for words in _EXHAUSTED)
