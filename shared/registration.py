"""A checked model package whose files are stored becomes the next version of its name, whoever brings it."""

import hashlib
from collections.abc import Mapping

from sqlalchemy.orm import Session

from shared.model_package import ONNX_FILE, WEIGHTS_FILE, PackageFiles
from shared.models import ModelVersion
from shared.repositories.audit import add_audit_event
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.registry import add_version, version_by_digest
from shared.storage import ContentStore, SpooledBlob

CONTRACT_MEDIA_TYPE = "application/json"
WEIGHTS_MEDIA_TYPES = {WEIGHTS_FILE: "application/vnd.keras", ONNX_FILE: "application/vnd.onnx"}


def register(
    session: Session, store: ContentStore, package: PackageFiles, parts: Mapping[SpooledBlob, str], principal_id: int
) -> tuple[ModelVersion, bool]:
    """The version that holds this package, and whether it is new; `parts` are its files with their media types."""
    lock_index(session)
    name = package.contract.name
    known = version_by_digest(session, name, package.digest)
    if known is not None:
        return known, False
    store.require(part.sha256 for part in parts)
    for part, media_type in parts.items():
        add_blob(session, part.sha256, part.size_bytes, media_type)
    version = add_version(
        session,
        name,
        digest=package.digest,
        contract=package.contract.model_dump(mode="json", by_alias=True),
        contract_sha256=hashlib.sha256(package.contract_bytes).hexdigest(),
        weights_sha256=package.contract.weights.sha256,
        principal_id=principal_id,
    )
    add_audit_event(session, principal_id, "model.register", "model_version", version.id, digest=version.digest)
    return version, True
