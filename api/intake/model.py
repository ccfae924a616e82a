"""A model package on its way in: checked without running any of it, then stored and registered."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from api.intake.store import require_bytes
from api.services import Services
from shared.errors import LimitExceededError
from shared.golden_set import read_golden_set
from shared.keras_archive import check_keras_archive
from shared.model_contract import GoldenSet, Weights
from shared.model_package import PackageFiles, open_package
from shared.models import ModelVersion
from shared.onnx_file import check_onnx_file
from shared.repositories.audit import add_audit_event
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.registry import add_version, version_by_digest
from shared.storage import CHUNK_BYTES, SpooledBlob

CONTRACT_MEDIA_TYPE = "application/json"
# How each kind of weights is looked at before it is kept.
WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights.keras": (check_keras_archive, "application/vnd.keras"),
    "weights.onnx": (check_onnx_file, "application/vnd.onnx"),
}
GOLDEN_MEDIA_TYPE = "application/vnd.numpy"


def register_package(services: Services, stream: BinaryIO, principal_id: int) -> tuple[ModelVersion, bool]:
    """Store a zipped package and register it; the version and whether it is new."""
    limit = services.settings.max_model_bytes
    spooled = _spool(services, _bounded(stream, limit))
    try:
        package = open_package(spooled.path, max_bytes=limit)
        weights = package.contract.weights
        check_weights, media_type = WEIGHTS[weights.file]
        parts = {_keep(services, package, weights, check_weights): media_type}
        if (golden := package.contract.proof.golden) is not None:
            check = partial(read_golden_set, contract=package.contract)
            parts[_keep(services, package, golden, check)] = GOLDEN_MEDIA_TYPE
        parts[services.store.put(package.contract_bytes)] = CONTRACT_MEDIA_TYPE
    finally:
        spooled.drop()
    return _register(services, package, parts, principal_id)


def _keep(
    services: Services, package: PackageFiles, part: Weights | GoldenSet, check: Callable[[Path], object]
) -> SpooledBlob:
    """Store a file of the package, once it is what the contract vouches for and passes the check."""
    spooled = _spool(services, package.stream(part))
    try:
        check(spooled.path)
        services.store.keep(spooled)
    finally:
        spooled.drop()
    return spooled


def _bounded(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    received_bytes = 0
    while chunk := stream.read(CHUNK_BYTES):
        received_bytes += len(chunk)
        if received_bytes > limit:
            raise LimitExceededError(f"The package is larger than the {limit} bytes allowed.")
        yield chunk


def _spool(services: Services, chunks: Iterable[bytes]) -> SpooledBlob:
    with services.store.spool() as spool:
        for chunk in chunks:
            services.store.require_room(services.settings.min_free_bytes)
            spool.write(chunk)
    return spool.finish()


def _register(
    services: Services, package: PackageFiles, parts: Mapping[SpooledBlob, str], principal_id: int
) -> tuple[ModelVersion, bool]:
    name = package.contract.name
    with services.unit_of_work() as uow:
        lock_index(uow.session)
        known = version_by_digest(uow.session, name, package.digest)
        if known is not None:
            return known, False
        require_bytes(services.store, [part.sha256 for part in parts])
        for part, media_type in parts.items():
            add_blob(uow.session, part.sha256, part.size_bytes, media_type)
        version = add_version(
            uow.session,
            name,
            digest=package.digest,
            contract=package.contract.model_dump(mode="json", by_alias=True),
            contract_sha256=hashlib.sha256(package.contract_bytes).hexdigest(),
            weights_sha256=package.contract.weights.sha256,
            principal_id=principal_id,
        )
        add_audit_event(uow.session, principal_id, "model.register", "model_version", version.id, digest=version.digest)
    return version, True
