"""Whether the model package of a report is the one that was registered, file by file."""

from collections.abc import Iterator
from typing import Any

from shared.errors import InvalidModelPackageError
from shared.model_package import ModelContract, load_contract, package_digest
from shared.models import ModelVersion
from shared.storage import ContentStore
from worker.verification.stored import fault_of


def package_faults(store: ContentStore, version: ModelVersion, document: dict[str, Any]) -> Iterator[str]:
    """The files against their digests, these against the registered version, that against what the report says."""
    yield from _said_otherwise(version, document)
    yield from _faults(store, version)


def _said_otherwise(version: ModelVersion, document: dict[str, Any]) -> Iterator[str]:
    said = document["model"] | document.get("provenance", {}).get("model", {})
    row = {name: getattr(version, name) for name in ("name", "version", "digest", "contract_sha256", "weights_sha256")}
    for name, value in row.items():
        if said.get(name, value) != value:
            yield f"the report names {name} {said[name]}, the registered version has {value}"


def _faults(store: ContentStore, version: ModelVersion) -> Iterator[str]:
    if fault := fault_of(store, version.contract_sha256):
        yield fault.told
        return
    text = store.path(version.contract_sha256).read_bytes()
    try:
        contract = load_contract(text)
    except InvalidModelPackageError:
        yield f"the contract, blob {version.contract_sha256}, cannot be read"
        return
    if (digest := package_digest(text, contract)) != version.digest:
        yield f"the package's files have the digest {digest}, the registered version has {version.digest}"
    # Read in the same way: a contract may have been registered before there were all of today's fields.
    if ModelContract.model_validate(version.contract) != contract:
        yield "the contract in the registry is not the package's"
    golden = contract.proof.golden
    for sha256 in [contract.weights.sha256, *([golden.sha256] if golden else [])]:
        if fault := fault_of(store, sha256):
            yield fault.told
