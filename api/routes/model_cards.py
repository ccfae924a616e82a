"""Model cards, as JSON and as a page to read."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, render_template, request

from api.auth import auth
from api.routes.docs import WEB_PAGE
from api.schemas.model_cards import ModelCard
from api.services import services
from api.views.models import known_version, model_card
from shared.db import reading
from shared.states import Scope

blueprint = APIBlueprint("model_cards", __name__, url_prefix="/api/v1/models", tag="Model cards")

# A card is self-contained: nothing is fetched, no script runs.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@blueprint.get("/<string:name>/versions/<int(max=999999999):number>/card")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ModelCard)
@blueprint.doc(summary="Read a model card")
def get_card(name: str, number: int) -> Any:
    """What a version is for, what it learnt from, what it was shown to do; JSON, or HTML where `Accept` prefers it."""
    card = _card(name, number)
    best = request.accept_mimetypes.best_match(["application/json", "text/html"], default="application/json")
    return _page(card) if best == "text/html" else card


@blueprint.get("/<string:name>/versions/<int(max=999999999):number>/card.html")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="Read a model card as a page", responses=WEB_PAGE)
def get_card_page(name: str, number: int) -> Any:
    """The card as a self-contained page, with its curves."""
    return _page(_card(name, number))


def _card(name: str, number: int) -> ModelCard:
    with reading(services().engine) as session:
        return model_card(session, known_version(session, name, number))


def _page(card: ModelCard) -> Response:
    page = render_template("model_card.html", card=card)
    return Response(page, content_type="text/html; charset=utf-8", headers=PAGE_HEADERS)
