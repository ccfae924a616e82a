"""Heat maps between an engine and the worker: which are wanted, how they are packed, what is believed of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from shared.states import Explain, MapMethod, NoMap
from worker.engines.probabilities import PROBABILITY_DECIMALS

HeatMap = NDArray[np.float16]
Wanted = NDArray[np.bool_]

# Most cells of a heat map, and most of all maps of one frame, 2 bytes each.
MAX_CELLS = 128 * 128
MAX_FRAME_CELLS = 16 * MAX_CELLS
WIRE_DTYPE = np.dtype("<f2")
MAP_BYTES = WIRE_DTYPE.itemsize


@dataclass(frozen=True)
class FrameMaps:
    """The heat maps of one frame, float16 (map rows, map columns), by the finding's place in the contract."""

    method: MapMethod = MapMethod.CAM
    maps: Mapping[int, HeatMap] = field(default_factory=dict)
    missing: Mapping[int, NoMap] = field(default_factory=dict)


def wanted_maps(contract: ModelContract, probabilities: NDArray[np.float32], explain: Sequence[Explain]) -> Wanted:
    """For which findings of which frames a map is asked for, bool (batch, findings).

    Of probabilities (batch, findings); `explain` says it of each frame. What is over its threshold is settled as in a
    report: by the stored decimals.
    """
    thresholds = np.array([finding.threshold for finding in contract.findings])
    is_positive = probabilities.astype(np.float64).round(PROBABILITY_DECIMALS) >= thresholds
    is_all = np.array([how is Explain.ALL for how in explain], np.bool_)[:, np.newaxis]
    is_none = np.array([how is Explain.NONE for how in explain], np.bool_)[:, np.newaxis]
    decisive = np.array([not finding.background for finding in contract.findings])
    return np.asarray((is_positive | is_all) & ~is_none & decisive)


def fits(num_outputs: int, rows: int, columns: int) -> bool:
    """Whether maps of such a size are small enough to be kept."""
    num_cells = rows * columns
    return 0 < num_cells <= MAX_CELLS and num_cells * num_outputs <= MAX_FRAME_CELLS


def maps_of_findings(contract: ModelContract, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of maps of the network's outputs (batch, outputs, rows, columns), those of the findings.

    A binary network of two outputs speaks by the difference of their logits, of which the sigmoid is the probability.
    """
    if contract.task == "binary" and maps.shape[1] > 1:
        return np.asarray(maps[:, 1:] - maps[:, :1])
    return maps


def pack(maps: NDArray[np.float32] | None, wanted: Wanted) -> bytes:
    """The wanted maps of a batch on their way to the worker: of (batch, findings, rows, columns).

    First a byte for each finding of each frame, 1 where its map follows; those that half precision cannot hold do not.
    """
    if maps is None:
        return bytes(wanted.size)
    with np.errstate(over="ignore"):  # what overflows is not finite, and left out
        chosen = maps[wanted].astype(WIRE_DTYPE)
    good = np.isfinite(chosen).all(axis=(1, 2))
    sent = wanted.astype(np.uint8)
    sent[wanted] = good
    return sent.tobytes() + chosen[good].tobytes()


def unpack(payload: bytes, wanted: Wanted, shape: tuple[int, int]) -> list[dict[int, HeatMap]]:
    """The maps of each frame of a batch by finding, each of this shape.

    The engine's process is not trusted: raises ValueError unless the maps are some of those that are wanted, whole, and
    hold nothing but numbers.
    """
    flags = np.frombuffer(payload[: wanted.size], np.uint8)
    if len(flags) != wanted.size or (flags > wanted.ravel()).any():
        raise ValueError("maps that nobody asked for")
    maps = np.frombuffer(payload[wanted.size :], WIRE_DTYPE).reshape(int(flags.sum()), *shape)
    if not np.isfinite(maps).all():
        raise ValueError("maps that hold no numbers")
    found: list[dict[int, HeatMap]] = [{} for _ in wanted]
    for one, (frame, finding) in zip(maps, np.argwhere(flags.reshape(wanted.shape)), strict=True):
        found[frame][int(finding)] = one
    return found


def checked_shape(given: object, num_findings: int) -> tuple[int, int] | None:
    """What the engine's process says its maps' rows and columns are, where such maps are kept."""
    if not isinstance(given, list) or [type(side) for side in given] != [int, int] or min(given) < 1:
        return None
    rows, columns = given
    return (rows, columns) if fits(num_findings, rows, columns) else None
