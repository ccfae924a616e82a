"""POST files, continue a broken submission, see what became of each file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import request
from sqlalchemy.orm import Session

from api.auth import auth, check_own, principal
from api.intake.receive import receive
from api.intake.spooling import display_name
from api.intake.store import store_files
from api.paging import read_body
from api.schemas.uploads import FileList, FileQuery, MissingShown, MissingWanted, UploadShown, UploadWanted
from api.services import Services, services
from api.views.files import files_shown, uploaded_file
from shared.db import reading
from shared.errors import BusyError, NotFoundError
from shared.models import Upload, UploadFile
from shared.repositories.audit import add_audit_event
from shared.repositories.imaging import site_named
from shared.repositories.principals import default_project
from shared.repositories.uploads import (
    attach_instances,
    create_upload,
    instances_by_blob,
    rejected_digests,
    upload_files,
)
from shared.states import FileOutcome, Scope

blueprint = APIBlueprint("uploads", __name__, url_prefix="/api/v1/uploads", tag="Uploads")


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.output(UploadShown, status_code=201)
@blueprint.doc(summary="Send files")
def post_upload() -> Any:
    """Take DICOM files and zips (multipart/form-data, application/zip, application/dicom), or JSON to begin empty."""
    if request.mimetype in ("", "application/json"):
        upload = begin_upload(services(), _label())
        return _shown(upload, []), 201, {"Location": _location(upload)}
    upload = begin_upload(services(), "")
    files = take_files(services(), upload)
    return _shown(upload, files), 201, {"Location": _location(upload)}


@blueprint.post("/<uuid:upload_id>")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.output(UploadShown)
@blueprint.doc(summary="Send more files")
def post_more_files(upload_id: UUID) -> Any:
    """Add files to an upload; the answer tells of those in this request."""
    upload = _find_own(upload_id)
    return _shown(upload, take_files(services(), upload))


@blueprint.post("/<uuid:upload_id>/missing")
@blueprint.auth_required(auth, roles=[Scope.SUBMIT.value])
@blueprint.input(MissingWanted)
@blueprint.output(MissingShown)
@blueprint.doc(summary="Ask which files are lacking")
def post_missing(upload_id: UUID, json_data: MissingWanted) -> Any:
    """Which of these bytes the server lacks; those it has become part of the upload without being sent.

    What this upload refused before is not asked for again.
    """
    upload = _find_own(upload_id)
    store = services().store
    with services().unit_of_work() as uow:
        known = instances_by_blob(uow.session, json_data.sha256)
        present = {sha256: known[sha256] for sha256 in known if store.exists(sha256)}
        names = {sha256: display_name(name) for sha256, name in json_data.names.items()}
        attached = attach_instances(uow.session, upload.id, present, names)
        settled = present.keys() | rejected_digests(uow.session, upload.id)
    missing = [sha256 for sha256 in dict.fromkeys(json_data.sha256) if sha256 not in settled]
    return {"missing": missing, "attached": attached}


@blueprint.get("/<uuid:upload_id>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(UploadShown)
@blueprint.doc(summary="See an upload")
def get_upload(upload_id: UUID) -> Any:
    """Every file of an upload and what became of it."""
    upload = _find(upload_id)
    with reading(services().engine) as session:
        return _shown(upload, upload_files(session, upload_id))


@blueprint.get("/<uuid:upload_id>/files")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(FileQuery, location="query")
@blueprint.output(FileList)
@blueprint.doc(summary="See what an upload's files are")
def get_files(upload_id: UUID, query_data: FileQuery) -> Any:
    """Each file as the index has it, and where `model` names one, what a job over the upload would do with it."""
    upload = _find(upload_id)
    with reading(services().engine) as session:
        return files_shown(session, upload, query_data)


def begin_upload(of: Services, label: str) -> Upload:
    """An upload row to hang files on."""
    with of.unit_of_work() as uow:
        session: Session = uow.session
        upload = create_upload(
            session,
            principal_id=principal().id,
            site_id=site_named(session, of.settings.site).id,
            project_id=default_project(session).id,
            label=label,
        )
        add_audit_event(session, principal().id, "upload.create", "upload", upload.id)
    return upload


def take_files(of: Services, upload: Upload) -> list[UploadFile]:
    """Receive the request's body into the upload."""
    content_type = request.headers.get("Content-Type", "")
    received = receive(
        request.stream,  # type: ignore[arg-type]
        content_type,
        of.store,
        of.settings,
        expected_bytes=request.content_length,
    )
    if not of.uploads.acquire(blocking=False):
        raise BusyError("as many uploads as this server takes at once are under way; send this one again shortly")
    try:
        return store_files(of, upload.id, received)
    finally:
        received.close()
        of.uploads.release()


def _label() -> str:
    return read_body(UploadWanted).label if request.content_length else ""


def _find(upload_id: UUID) -> Upload:
    with reading(services().engine) as session:
        upload = session.get(Upload, upload_id)
    if upload is None:
        raise NotFoundError("There is no such upload; begin one with POST /api/v1/uploads.")
    return upload


def _find_own(upload_id: UUID) -> Upload:
    """The upload, to be added to; raises ScopeError where it is somebody else's and the token may not operate."""
    upload = _find(upload_id)
    check_own(upload.principal_id, "upload")
    return upload


def _location(upload: Upload) -> str:
    return f"/api/v1/uploads/{upload.id}"


def _shown(upload: Upload, files: Sequence[UploadFile]) -> dict[str, Any]:
    outcomes = Counter(file.outcome for file in files)
    return {
        "id": upload.id,
        "label": upload.label,
        "created_at": upload.created_at,
        "counts": {outcome.value: outcomes[outcome] for outcome in FileOutcome},
        "files": [uploaded_file(file).model_dump() for file in files],
    }
