"""Take labels in bulk; list those that stand, and where sources disagree."""

from typing import Any

from apiflask import APIBlueprint
from flask import request

from api.auth import auth, principal
from api.intake.labels import rows_of_csv, take_labels
from api.paging import read_body
from api.schemas.labels import LabelList, LabelQuery, LabelsTaken, LabelsWanted
from api.services import services
from api.views.labels import labels_shown
from shared.db import reading
from shared.errors import UnsupportedMediaTypeError
from shared.repositories.audit import add_audit_event
from shared.states import Scope

blueprint = APIBlueprint("labels", __name__, url_prefix="/api/v1/labels", tag="Labels")


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.output(LabelsTaken)
@blueprint.doc(summary="Add labels")
def post_labels() -> Any:
    """JSON, or `text/csv` with the same names in its first line; sending them again changes nothing.

    A row that cannot be taken is told with its number and costs no other row. A patient's first label settles whether
    the patient is in the holdout.
    """
    if request.mimetype == "text/csv":
        rows: list[Any] = list(rows_of_csv(request.get_data()))
    elif request.mimetype in ("", "application/json"):
        rows = read_body(LabelsWanted).labels
    else:
        raise UnsupportedMediaTypeError(f"Labels come as application/json or text/csv; this is {request.mimetype}.")
    by = principal()
    with services().unit_of_work() as uow:
        taken = take_labels(uow.session, by, rows, services().settings)
        counts = taken.model_dump(include={"added", "changed", "unchanged", "refused"})
        add_audit_event(uow.session, by.id, "labels.import", "label", "", **counts)
    return taken


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(LabelQuery, location="query")
@blueprint.output(LabelList)
@blueprint.doc(summary="List labels")
def get_labels(query_data: LabelQuery) -> Any:
    """Those that stand, the newest first: of each source its last word."""
    with reading(services().engine) as session:
        return labels_shown(session, query_data)
