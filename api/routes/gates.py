"""What the gate decided lately, about any model."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.paging import integer_cursor, page_of
from api.schemas.base import Page
from api.schemas.training import GateDecisionList
from api.services import services
from api.views.training import decision_shown
from shared.db import reading
from shared.repositories.gates import list_decisions
from shared.states import Scope

blueprint = APIBlueprint("gates", __name__, url_prefix="/api/v1/gate-decisions", tag="Gate decisions")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(Page, location="query")
@blueprint.output(GateDecisionList)
@blueprint.doc(summary="List what the gate decided")
def get_gate_decisions(query_data: Page) -> Any:
    """The last first; what was measured is at `/api/v1/models/{name}/versions/{n}/gate`."""
    with reading(services().engine) as session:
        before = integer_cursor(query_data.cursor)
        found = list_decisions(session, before=before, limit=query_data.limit + 1)
        return page_of(found, query_data.limit, decision_shown, lambda one: str(one.id))
