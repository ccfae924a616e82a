"""What webhooks were told, and what could not be told."""

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.paging import page_of, uuid_cursor
from api.schemas.webhooks import NoticeList, NoticeQuery, NoticeShown
from api.services import services
from api.views.notices import notice_shown
from shared.db import reading
from shared.errors import ConflictError, NotFoundError
from shared.models import Notice
from shared.repositories.audit import add_audit_event
from shared.repositories.notices import get_notice, list_notices, resend
from shared.states import Scope

blueprint = APIBlueprint("notices", __name__, url_prefix="/api/v1/notices", tag="Notices")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(NoticeQuery, location="query")
@blueprint.output(NoticeList)
@blueprint.doc(summary="List notices")
def get_notices(query_data: NoticeQuery) -> Any:
    """The newest first; those that are `dead` were given up and wait for a person."""
    with reading(services().engine) as session:
        found = list_notices(
            session,
            state=query_data.state,
            webhook=query_data.webhook,
            event=query_data.event,
            before=uuid_cursor(query_data.cursor),
            limit=query_data.limit + 1,
        )
        return page_of(found, query_data.limit, notice_shown, lambda one: str(one.id))


@blueprint.get("/<uuid:notice_id>")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(NoticeShown)
@blueprint.doc(summary="See a notice")
def get_one_notice(notice_id: UUID) -> Any:
    """Whether it arrived, or what hinders it."""
    with reading(services().engine) as session:
        return notice_shown(_find(session, notice_id))


@blueprint.post("/<uuid:notice_id>/resend")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(NoticeShown, status_code=202)
@blueprint.doc(summary="Send a notice again", responses={409: "It is not over yet, or its webhook was removed"})
def post_resend(notice_id: UUID) -> Any:
    """As if it were new, also one that arrived; the receiver knows it by its id."""
    with services().unit_of_work() as uow:
        notice = _find(uow.session, notice_id)
        if notice.webhook.disabled_at is not None:
            raise ConflictError("The webhook of this notice was removed; nothing is sent to it any more.")
        if not resend(uow.session, notice.state, Notice.id == notice.id):
            raise ConflictError("The notice is not over yet: it is tried again by itself.")
        add_audit_event(uow.session, principal().id, "notice.resend", "notice", notice.id)
        uow.session.refresh(notice)
        return notice_shown(notice), 202


def _find(session: Session, notice_id: UUID) -> Notice:
    found = get_notice(session, notice_id)
    if found is None:
        raise NotFoundError("There is no such notice.")
    return found
