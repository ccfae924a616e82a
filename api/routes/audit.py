"""The audit trail: who did what to which object, and whether its chain holds."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.paging import integer_cursor, page_of
from api.schemas.audit import AuditEventList, AuditQuery, ChainQuery, ChainShown
from api.services import services
from api.views.audit import chain_shown, event_shown
from shared.audit_chain import START, Seal
from shared.db import reading
from shared.errors import InvalidRequestError
from shared.repositories.audit import AuditFilter, list_audit_events
from shared.states import Scope

blueprint = APIBlueprint("audit", __name__, url_prefix="/api/v1/audit", tag="Audit")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(AuditQuery, location="query")
@blueprint.output(AuditEventList)
@blueprint.doc(summary="Read the audit trail")
def get_audit(query_data: AuditQuery) -> Any:
    """Every act, the newest first; it names things by their ids, and no patient."""
    if query_data.object_id is not None and query_data.object_kind is None:
        raise InvalidRequestError("The query names an object without its kind; give `object_kind`, too.")
    wanted = AuditFilter(**query_data.model_dump(exclude={"cursor", "limit"}))
    with reading(services().engine) as session:
        before = integer_cursor(query_data.cursor)
        found = list_audit_events(session, wanted, before=before, limit=query_data.limit + 1)
    return page_of(found, query_data.limit, event_shown, lambda row: str(row.id))


@blueprint.get("/chain")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(ChainQuery, location="query")
@blueprint.output(ChainShown)
@blueprint.doc(summary="Check the chain of the audit trail")
def get_chain(query_data: ChainQuery) -> Any:
    """Compute the chain again, from its start or a seal on; long ones in parts, each from the `next` of the one before.

    It shows an event or a seal that was altered or taken out after it was sealed. Who can rewrite the whole database
    can rewrite the whole chain: keep `head` elsewhere, and give it as `cursor` later.
    """
    after = START
    if query_data.cursor is not None:
        sequence, _, digest = query_data.cursor.partition(":")
        after = Seal(int(sequence), digest)
    return chain_shown(services().engine, after, query_data.limit)
