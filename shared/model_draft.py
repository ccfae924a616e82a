"""A contract before there are weights: what a network is to learn."""

import json

from shared.errors import InvalidRequestError
from shared.model_contract import ModelContract
from shared.model_package import MAX_CONTRACT_BYTES, WEIGHTS_FILE, load_contract

_NO_SHA256 = "0" * 64


def read_draft(text: bytes) -> ModelContract:
    """Read a `model.json` whose weights, golden set and training need not be there; what is there of them is dropped.

    Raises InvalidRequestError where it is no JSON or nothing that is trained here, InvalidModelPackageError where a
    field is wrong.
    """
    if len(text) > MAX_CONTRACT_BYTES:
        raise InvalidRequestError(f"the contract has more than the {MAX_CONTRACT_BYTES} bytes allowed; make it smaller")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the contract is not JSON ({error}); give a model.json, in which weights and training may be left out"
        ) from error
    if isinstance(fields, dict):
        fields |= {"weights": {"file": WEIGHTS_FILE, "sha256": _NO_SHA256}, "training": None}
        if isinstance(fields.get("proof"), dict):
            fields["proof"] |= {"golden": None}
    contract = load_contract(json.dumps(fields))
    if contract.task == "multilabel" or contract.output != "logits":
        raise InvalidRequestError(
            "what is trained here are binary and multiclass models that give logits; the contract says "
            f"{contract.task} and {contract.output}: change its task or its output"
        )
    return contract
