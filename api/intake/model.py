"""A model package on its way in: checked without running any of it, then stored and registered."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from api.intake.store import require_bytes
from api.services import Services
from shared.errors import LimitExceededError
from shared.keras_archive import check_keras_archive
from shared.model_package import PackageFiles, open_package
from shared.models import ModelVersion
from shared.repositories.audit import add_audit_event
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.registry import add_version, version_by_digest
from shared.storage import CHUNK_BYTES, SpooledBlob

CONTRACT_MEDIA_TYPE = "application/json"
WEIGHTS_MEDIA_TYPE = "application/vnd.keras"


def register_package(services: Services, stream: BinaryIO, principal_id: int) -> tuple[ModelVersion, bool]:
    """Store a zipped package and register it; the version and whether it is new."""
    limit = services.settings.max_model_bytes
    spooled = _spool(services, _bounded(stream, limit))
    try:
        package = open_package(spooled.path, max_bytes=limit)
        weights = _spool(services, package.stream_weights())
        try:
            check_keras_archive(weights.path)
            services.store.keep(weights)
        finally:
            weights.drop()
        contract = services.store.put(package.contract_bytes)
    finally:
        spooled.drop()
    return _register(services, package, contract, weights, principal_id)


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
    services: Services, package: PackageFiles, contract: SpooledBlob, weights: SpooledBlob, principal_id: int
) -> tuple[ModelVersion, bool]:
    name = package.contract.name
    with services.unit_of_work() as uow:
        lock_index(uow.session)
        known = version_by_digest(uow.session, name, package.digest)
        if known is not None:
            return known, False
        require_bytes(services.store, [contract.sha256, weights.sha256])
        add_blob(uow.session, contract.sha256, contract.size_bytes, CONTRACT_MEDIA_TYPE)
        add_blob(uow.session, weights.sha256, weights.size_bytes, WEIGHTS_MEDIA_TYPE)
        version = add_version(
            uow.session,
            name,
            digest=package.digest,
            contract=package.contract.model_dump(mode="json", by_alias=True),
            contract_sha256=contract.sha256,
            weights_sha256=weights.sha256,
            principal_id=principal_id,
        )
        add_audit_event(uow.session, principal_id, "model.register", "model_version", version.id, digest=version.digest)
    return version, True
