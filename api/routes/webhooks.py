"""Where notices go, and of what."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.schemas.webhooks import NoticeShown, Resent, WebhookList, WebhookMade, WebhookShown, WebhookWanted
from api.services import services
from api.views.notices import notice_shown, webhook_shown
from shared.db import reading
from shared.errors import ConflictError, NotFoundError
from shared.events import Event
from shared.identifiers import new_id
from shared.models import Notice, Webhook
from shared.repositories.audit import add_audit_event
from shared.repositories.notices import add_notices_to, get_notice, resend
from shared.repositories.webhooks import add_webhook, list_webhooks, new_secret, remove_webhook, webhook_named
from shared.states import NoticeState, Scope
from shared.targets import check_target

blueprint = APIBlueprint("webhooks", __name__, url_prefix="/api/v1/webhooks", tag="Webhooks")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output(WebhookList)
@blueprint.doc(summary="List webhooks")
def get_webhooks() -> Any:
    """All of them, without their secrets."""
    with reading(services().engine) as session:
        return {"items": [webhook_shown(one) for one in list_webhooks(session)]}


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.input(WebhookWanted)
@blueprint.output(WebhookMade, status_code=201)
@blueprint.doc(summary="Add a webhook", responses={409: "There is one of this name"})
def post_webhook(json_data: WebhookWanted) -> Any:
    """It is told of what happens from now on; its secret is shown this once."""
    origin = check_target(json_data.url, services().settings)
    secret, by = json_data.secret or new_secret(), principal().id
    with services().unit_of_work() as uow:
        if webhook_named(uow.session, json_data.name) is not None:
            raise ConflictError("There is a webhook of this name; remove it first, or choose another name.")
        made = add_webhook(
            uow.session,
            json_data.name,
            url=json_data.url,
            events=list(dict.fromkeys(json_data.events)),
            secret=secret,
            principal_id=by,
        )
        detail = {"name": made.name, "target": str(origin), "events": made.events}
        add_audit_event(uow.session, by, "webhook.add", "webhook", made.id, **detail)
        return WebhookMade(**webhook_shown(made).model_dump(), secret=secret), 201


@blueprint.get("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output(WebhookShown)
@blueprint.doc(summary="See a webhook")
def get_webhook(name: str) -> Any:
    """Without its secret."""
    with reading(services().engine) as session:
        return webhook_shown(_known(session, name))


@blueprint.delete("/<string:name>")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Remove a webhook")
def delete_webhook(name: str) -> Any:
    """It is told nothing any more, its secret is forgotten, and what it was not told yet is given up."""
    with services().unit_of_work() as uow:
        webhook = _known(uow.session, name, lock=True)
        remove_webhook(uow.session, webhook)
        add_audit_event(uow.session, principal().id, "webhook.remove", "webhook", webhook.id)
    return ""


@blueprint.post("/<string:name>/test")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output(NoticeShown, status_code=202)
@blueprint.doc(summary="Send a test notice")
def post_test(name: str) -> Any:
    """Of the event `webhook.test`, within seconds; the notice tells what came of it."""
    with services().unit_of_work() as uow:
        webhook = _known(uow.session, name)
        (notice_id,) = add_notices_to(uow.session, [webhook.id], Event.TEST, "test", {new_id(): {}})
        add_audit_event(uow.session, principal().id, "webhook.test", "webhook", webhook.id)
        made = get_notice(uow.session, notice_id)
        if made is None:
            raise AssertionError("the notice was made just now")
        return notice_shown(made), 202


@blueprint.post("/<string:name>/resend")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(Resent)
@blueprint.doc(summary="Send its dead letters again")
def post_resend_all(name: str) -> Any:
    """All notices to it that were given up, as if they were new; receivers know them by their ids."""
    with services().unit_of_work() as uow:
        webhook = _known(uow.session, name)
        number = resend(uow.session, NoticeState.DEAD, Notice.webhook_id == webhook.id)
        add_audit_event(uow.session, principal().id, "webhook.resend", "webhook", webhook.id, notices=number)
        return {"resent": number}


def _known(session: Session, name: str, *, lock: bool = False) -> Webhook:
    webhook = webhook_named(session, name, lock=lock)
    if webhook is None:
        raise NotFoundError("There is no such webhook.")
    return webhook
