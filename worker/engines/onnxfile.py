"""A `.onnx` file from outside: read once, verified, and looked into before an engine gets it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.model_contract import ModelContract

MISSING = "weights.onnx needs ONNX Runtime, which is not installed: pip install 'overread[onnx]'"
# The standard's operators; others are code of whoever made them, and no engine here has any.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def read_onnx(contract: ModelContract, weights_path: Path) -> bytes:
    """The model's bytes: of the digest that the contract vouches for, whole in themselves, of standard operators.

    Tensors of `.onnx` files can lie in other files, by any path: those are never read.
    Raises InvalidModelPackageError, and EngineMissingError where nothing can look into the file.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise EngineMissingError(MISSING) from error
    try:
        data = weights_path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidModelPackageError("the stored weights are gone; register the package again") from error
    if hashlib.sha256(data).hexdigest() != contract.weights.sha256:
        raise InvalidModelPackageError("the weights are not those of the contract; register the package again")
    try:
        model = onnx.load_model_from_string(data)
        _check_inside(model)
        onnx.checker.check_model(model)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise InvalidModelPackageError(
            f"weights.onnx is no valid ONNX model ({str(error)[:300]}); export it again"
        ) from error
    return data


def _check_inside(model: Any) -> None:
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model)):
        raise InvalidModelPackageError(
            "weights.onnx keeps tensors in other files, which are never read; export it as one file"
        )
    strange = {entry.domain for entry in model.opset_import} - DOMAINS
    if strange:
        raise InvalidModelPackageError(
            f"weights.onnx uses operators of {', '.join(sorted(repr(one[:60]) for one in strange))}; expected those of "
            "the ONNX standard only"
        )


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto in a message, wherever it is: in graphs, in graphs inside nodes, in functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(part)
