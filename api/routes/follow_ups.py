"""The worklist: what packages' rules suggest for patients, and what people do with it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.paging import page_of, read_cursor
from api.schemas.follow_ups import (
    MOST_POSTPONED,
    MOST_YEARS,
    ActWanted,
    FollowUpList,
    FollowUpQuery,
    FollowUpWhole,
    PostponeWanted,
)
from api.services import services
from api.views.follow_ups import follow_up_shown, follow_up_whole
from shared.db import database_time, reading
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.models import FollowUp
from shared.repositories.audit import add_audit_event
from shared.repositories.follow_ups import move_follow_up
from shared.repositories.worklist import Place, Wish, get_follow_up, worklist
from shared.states import STANDING_FOLLOW_UPS, FollowUpState, Scope

blueprint = APIBlueprint("follow_ups", __name__, url_prefix="/api/v1/follow-ups", tag="Follow-ups")

MOVED = {409: "It is in a state in which that cannot be, or somebody else moved it at this moment"}


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(FollowUpQuery, location="query")
@blueprint.output(FollowUpList)
@blueprint.doc(summary="List follow-ups")
def get_follow_ups(query_data: FollowUpQuery) -> Any:
    """What is to be done for patients: the urgent first, then what is due first."""
    asked = query_data
    wish = Wish(
        states=STANDING_FOLLOW_UPS if asked.state is None else {asked.state},
        patient_key=asked.patient,
        finding=asked.finding,
        due_before=asked.due_before,
        overdue=asked.overdue,
    )
    after = read_cursor(asked.cursor, Place.parse)
    with reading(services().engine) as session:
        now = database_time(session)
        found = worklist(session, wish, after=after, limit=asked.limit + 1)
        return page_of(found, asked.limit, lambda one: follow_up_shown(one, now), lambda one: str(Place.of(one)))


@blueprint.get("/<uuid:follow_up_id>")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.output(FollowUpWhole)
@blueprint.doc(summary="See a follow-up")
def get_one_follow_up(follow_up_id: UUID) -> Any:
    """As it stands, with all that became of it."""
    with reading(services().engine) as session:
        return follow_up_whole(session, _find(session, follow_up_id), database_time(session))


@blueprint.post("/<uuid:follow_up_id>/acknowledge")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(ActWanted)
@blueprint.output(FollowUpWhole)
@blueprint.doc(summary="Acknowledge a follow-up", responses=MOVED)
def post_acknowledge(follow_up_id: UUID, json_data: ActWanted) -> Any:
    """Somebody takes it on: no report withdraws it any more, a person closes it."""
    return _act(follow_up_id, FollowUpState.ACKNOWLEDGED, json_data.reason)


@blueprint.post("/<uuid:follow_up_id>/postpone")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(PostponeWanted)
@blueprint.output(FollowUpWhole)
@blueprint.doc(summary="Postpone a follow-up", responses=MOVED)
def post_postpone(follow_up_id: UUID, json_data: PostponeWanted) -> Any:
    """It is due then; a report brings the date forward only where it is about another study."""
    return _act(follow_up_id, FollowUpState.POSTPONED, json_data.reason, json_data.until)


@blueprint.post("/<uuid:follow_up_id>/close")
@blueprint.auth_required(auth, roles=[Scope.REVIEW.value])
@blueprint.input(ActWanted)
@blueprint.output(FollowUpWhole)
@blueprint.doc(summary="Close a follow-up", responses=MOVED)
def post_close(follow_up_id: UUID, json_data: ActWanted) -> Any:
    """It was done, or is not to be done: it comes again only because of a study that is not known yet."""
    return _act(follow_up_id, FollowUpState.CLOSED, json_data.reason)


def _act(follow_up_id: UUID, after: FollowUpState, reason: str, until: datetime | None = None) -> FollowUpWhole:
    with services().unit_of_work() as uow:
        session, by = uow.session, principal().id
        item, now = _find(session, follow_up_id), database_time(session)
        if until is not None and until <= now:
            raise InvalidRequestError("`until` is in the past; name a time to come, or close the follow-up.")
        if until is not None and until > now + MOST_POSTPONED:
            raise InvalidRequestError(
                f"`until` is more than {MOST_YEARS} years from now; close what is never to be done."
            )
        before = item.state
        if not move_follow_up(session, item, after, principal_id=by, reason=reason, due_at=until):
            raise ConflictError("Somebody else moved the follow-up at this moment; look at it again.")
        detail = {"before": before.value, "due_at": item.due_at.isoformat()}
        add_audit_event(session, by, f"follow_up.{after.value}", "follow_up", item.id, **detail)
        return follow_up_whole(session, item, now)


def _find(session: Session, follow_up_id: UUID) -> FollowUp:
    found = get_follow_up(session, follow_up_id)
    if found is None:
        raise NotFoundError("There is no such follow-up.")
    return found
