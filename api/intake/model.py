"""A model package on its way in: checked without running any of it, then stored and registered."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from api.services import Services
from shared.errors import LimitExceededError
from shared.golden_set import read_golden_set
from shared.keras_archive import check_keras_archive
from shared.model_contract import GoldenSet, Weights
from shared.model_package import PackageFiles, open_package
from shared.models import ModelVersion
from shared.onnx_file import check_onnx_file
from shared.registration import CONTRACT_MEDIA_TYPE, WEIGHTS_MEDIA_TYPES, register
from shared.storage import CHUNK_BYTES, SpooledBlob

# How each kind of weights is looked at before it is kept.
CHECKS: dict[str, Callable[[Path], object]] = {"weights.keras": check_keras_archive, "weights.onnx": check_onnx_file}
GOLDEN_MEDIA_TYPE = "application/vnd.numpy"


def register_package(services: Services, stream: BinaryIO, principal_id: int) -> tuple[ModelVersion, bool]:
    """Store a zipped package and register it; the version and whether it is new."""
    limit = services.settings.max_model_bytes
    spooled = _spool(services, _bounded(stream, limit))
    try:
        package = open_package(spooled.path, max_bytes=limit)
        weights = package.contract.weights
        parts = {_keep(services, package, weights, CHECKS[weights.file]): WEIGHTS_MEDIA_TYPES[weights.file]}
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
    with services.unit_of_work() as uow:
        return register(uow.session, services.store, package, parts, principal_id)
