"""JSON Schemas of what the API gives, for programs that read it."""

import json

from apiflask import APIBlueprint
from flask import Response

from api.auth import auth
from api.routes.docs import SCHEMA
from shared.reports.schema import report_schema
from shared.states import Scope

blueprint = APIBlueprint("schemas", __name__, url_prefix="/api/v1/schemas", tag="Schemas")


@blueprint.get("/report")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="The JSON Schema of a report's document", responses=SCHEMA)
def get_report_schema() -> Response:
    """Every field of `document` with its unit and range; no document has others."""
    return Response(json.dumps(report_schema()), content_type="application/schema+json")
