"""Heat maps: their numbers, and a picture of each over its frame."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify, request

from api.auth import auth
from api.routes.docs import HEAT_MAP, PICTURE
from api.schemas.heat_maps import HeatMapShown
from api.services import services
from api.views.heat_maps import FoundMap, find_heat_map, named
from api.views.jobs import model_named
from shared.db import reading
from shared.errors import NotFoundError
from shared.heat_map_file import DTYPE, read_map
from shared.states import Scope

blueprint = APIBlueprint("heat_maps", __name__, url_prefix="/api/v1/heat-maps", tag="Heat maps")

# Row ids have 63 bits.
HEAT_MAP_ID = f"<int(max={2**63 - 1}):heat_map_id>"
# A map never changes; a picture of one may be drawn otherwise by a later version, and has this in its tag.
DRAWING = "1"
HEADERS = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
BYTES = "application/octet-stream"


@blueprint.get(f"/{HEAT_MAP_ID}")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="Read a heat map", responses=HEAT_MAP)
def get_one_heat_map(heat_map_id: int) -> Any:
    """What each cell of the frame adds to the finding's logit, rows from above, at the size the network has it.

    JSON, or where `Accept` prefers `application/octet-stream` just its values: little endian float16, row by row.
    """
    with reading(services().engine) as session:
        found = find_heat_map(session, heat_map_id)
    best = request.accept_mimetypes.best_match(["application/json", BYTES], default="application/json")
    values = read_map(services().store.path(found.sha256), found.position)
    if best == BYTES:
        return _cacheable(Response(values.astype(DTYPE).tobytes(), content_type=BYTES), found, "b")
    finding = found.version.contract["findings"][found.row.finding]
    shown = HeatMapShown(
        **dict(named(found.row)),
        finding=finding["code"],
        display=finding["display"],
        sha256=found.prediction.blob_sha256,
        frame=found.prediction.frame,
        model=model_named(found.version),
        rows=values.shape[0],
        columns=values.shape[1],
        values=values.tolist(),
    )
    return _cacheable(jsonify(shown.model_dump(mode="json")), found, "j")


@blueprint.get(f"/{HEAT_MAP_ID}.png")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="See a heat map over its frame", responses=PICTURE)
def get_picture(heat_map_id: int) -> Any:
    """The map blended over its frame. It names nobody, but shows what is burnt into the frame's pixels."""
    with reading(services().engine) as session:
        found = find_heat_map(session, heat_map_id)
        wanted = found.picture()
    if not services().store.exists(found.prediction.blob_sha256):
        raise NotFoundError("The instance's stored bytes are gone; send the file again.")
    if request.if_none_match.contains(_tag(found, f"p{DRAWING}")):
        return _cacheable(Response(), found, f"p{DRAWING}")
    return _cacheable(Response(services().pictures.make(wanted), content_type="image/png"), found, f"p{DRAWING}")


def _tag(found: FoundMap, kind: str) -> str:
    return f"{found.sha256}-{found.position}-{found.row.id}-{kind}"


def _cacheable(response: Response, found: FoundMap, kind: str) -> Any:
    """304 where whoever asks has this already; kept by the one who asked only, as it shows a patient."""
    response.headers.update(HEADERS)
    response.set_etag(_tag(found, kind))
    return response.make_conditional(request)
