"""What a network takes and gives, compared with what the contract says, in words."""

import numpy as np

from shared.errors import InvalidModelPackageError
from shared.model_contract import ModelContract
from worker.engines.compiled import Frames

Shape = tuple[int | None, ...]


def input_shape(contract: ModelContract, batch_size: int | None) -> Shape:
    """The shape of a batch as the network takes it."""
    shape = contract.input
    if shape.layout == "channels_first":
        return (batch_size, shape.channels, shape.rows, shape.columns)
    return (batch_size, shape.rows, shape.columns, shape.channels)


def in_layout(contract: ModelContract, batch: Frames) -> Frames:
    """Frames (batch, rows, columns, channels) as the network takes them."""
    if contract.input.layout == "channels_first":
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
    return batch


def check_input(contract: ModelContract, given: Shape) -> None:
    """Raise InvalidModelPackageError unless the network takes batches of any size of the contract's frames."""
    expected = input_shape(contract, None)
    is_first = contract.input.layout == "channels_first"
    names = "batch, channels, rows, columns" if is_first else "batch, rows, columns, channels"
    if len(given) != len(expected) or any(
        side not in (None, other) for side, other in zip(given, expected, strict=True)
    ):
        raise InvalidModelPackageError(
            f"input: the network takes {given}, model.json says {expected} ({names}); make them agree, with a batch "
            "of any size (None)"
        )


def check_outputs(contract: ModelContract, given: Shape) -> None:
    """Raise InvalidModelPackageError unless there is an output for each finding."""
    expected = [(None, 1), (None, 2)] if contract.task == "binary" else [(None, len(contract.findings))]
    if given not in expected:
        raise InvalidModelPackageError(
            f"findings: the network gives {given}, but a {contract.task} model of {len(contract.findings)} finding(s) "
            f"gives {' or '.join(map(str, expected))}"
        )
