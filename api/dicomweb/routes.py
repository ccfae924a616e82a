"""Frames as pictures (WADO-RS rendered and thumbnail), and the instances of a series (QIDO-RS)."""

from collections.abc import Iterable
from typing import Any

from apiflask import APIBlueprint
from flask import Response, json, request

from api.auth import auth
from api.dicomweb.documents import document_of
from api.dicomweb.parameters import InstancesQuery, RenderedQuery, viewport_of, window_of
from api.dicomweb.rendering import FORMATS, THUMBNAIL_SIDE, Viewport, Wanted
from api.negotiation import preferred
from api.routes.docs import DICOM_JSON, RENDERED
from api.services import services
from shared.db import reading
from shared.errors import NotAcceptableError, NotFoundError
from shared.models import Instance
from shared.repositories.stored_images import find_instance, instances_of, middle_instance
from shared.states import Scope

blueprint = APIBlueprint("dicomweb", __name__, url_prefix="/dicomweb/studies", tag="DICOMweb")

SERIES = "/<string:study>/series/<string:series>"
INSTANCE = f"{SERIES}/instances/<string:instance>"
DICOM_JSON_TYPES = ("application/dicom+json", "application/json")
# One browser's cache may serve several sessions, one after the other, and not all may read.
HEADERS = {
    "Cache-Control": "private, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept, Authorization, Cookie",
}
NO_INSTANCE = "There is no such instance; its study, series and SOP instance UIDs name it together."
NO_SERIES = "There is no such series, or it has no such instance; its study and series UIDs name it together."
NO_IMAGE = "There is no such study or series, or it has no image."


@blueprint.get(f"{INSTANCE}/rendered")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(RenderedQuery, location="query")
@blueprint.doc(summary="See an instance", responses=RENDERED)
def get_rendered_instance(study: str, series: str, instance: str, query_data: RenderedQuery) -> Any:
    """Its first frame, as `frames/1/rendered` gives it."""
    return _rendered(_instance(study, series, instance), 1, query_data)


@blueprint.get(f"{INSTANCE}/frames/<int:frame>/rendered")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(RenderedQuery, location="query")
@blueprint.doc(summary="See a frame", responses=RENDERED)
def get_rendered_frame(study: str, series: str, instance: str, frame: int, query_data: RenderedQuery) -> Any:
    """As JPEG, or as PNG where `Accept` prefers that; in its own window, or in `window=center,width,shape`.

    `viewport` scales it, or its region, to fit, and keeps its shape; without one it is as large as the frame, and at
    most 4096 pixels a side. `Overread-Window` says which window it is shown in; colour has none. What is burnt into
    the frame's pixels is in the picture too.
    """
    return _rendered(_instance(study, series, instance), frame, query_data)


@blueprint.get(f"{INSTANCE}/thumbnail")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="See an instance, small", responses=RENDERED)
def get_instance_thumbnail(study: str, series: str, instance: str) -> Any:
    """Its middle frame; 404 where the file says that text is burnt into its pixels."""
    return _thumbnail(_instance(study, series, instance))


@blueprint.get(f"{SERIES}/thumbnail")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="See a series, small", responses=RENDERED)
def get_series_thumbnail(study: str, series: str) -> Any:
    """The middle one of its images; 404 as of an instance."""
    return _thumbnail(_middle(study, series))


@blueprint.get("/<string:study>/thumbnail")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.doc(summary="See a study, small", responses=RENDERED)
def get_study_thumbnail(study: str) -> Any:
    """Its first series that has images; 404 as of an instance."""
    return _thumbnail(_middle(study))


@blueprint.get(f"{SERIES}/instances")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(InstancesQuery, location="query")
@blueprint.doc(summary="List a series' instances", responses=DICOM_JSON)
def get_instances(study: str, series: str, query_data: InstancesQuery) -> Any:
    """As they lie in the patient where that is known, else by InstanceNumber; `SOPInstanceUID` finds one.

    `Warning` says how many more there are.
    """
    media_type = _accepted(DICOM_JSON_TYPES)
    with reading(services().engine) as session:
        uid = query_data.sop_instance_uid
        found = instances_of(session, study, series)
        matching = [document_of(one, study, series) for one in found if uid in (None, one.sop_instance_uid)]
    if not matching:
        raise NotFoundError(NO_SERIES)
    end = query_data.offset + query_data.limit
    response = Response(json.dumps(matching[query_data.offset : end]), content_type=media_type)
    response.headers["Cache-Control"] = "private, no-store"
    if len(matching) > end:
        more = f"There are {len(matching) - end} additional results that can be requested"
        response.headers["Warning"] = f'299 Overread "{more}"'
    return response


def _instance(study: str, series: str, instance: str) -> Instance:
    with reading(services().engine) as session:
        found = find_instance(session, study, series, instance)
    if found is None:
        raise NotFoundError(NO_INSTANCE)
    return found


def _middle(study: str, series: str | None = None) -> Instance:
    with reading(services().engine) as session:
        found = middle_instance(session, study, series)
    if found is None:
        raise NotFoundError(NO_IMAGE)
    return found


def _rendered(instance: Instance, frame: int, query: RenderedQuery) -> Any:
    if not 1 <= frame <= instance.number_of_frames:
        raise NotFoundError(f"There is no such frame; the instance has {instance.number_of_frames}, counted from 1.")
    viewport = viewport_of(query.viewport, instance.rows, instance.columns)
    path = str(services().store.path(instance.blob_sha256))
    return _answer(Wanted(path, frame, _accepted(FORMATS), window_of(query.window), viewport))


def _thumbnail(instance: Instance) -> Any:
    frame, path = (instance.number_of_frames + 1) // 2, services().store.path(instance.blob_sha256)
    viewport = Viewport(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return _answer(Wanted(str(path), frame, _accepted(FORMATS), viewport=viewport, is_thumbnail=True))


def _answer(wanted: Wanted) -> Any:
    """304, for which no pixel is looked at, where whoever asks has this already."""
    store = services().store
    if not store.exists(wanted.sha256):
        raise NotFoundError("The instance's stored bytes are gone; send the file again.")
    response = Response(content_type=wanted.media_type, headers=HEADERS)
    response.set_etag(wanted.tag)
    if not request.if_none_match.contains(wanted.tag):
        picture = services().renderer.picture(wanted)
        response.set_data(picture.data)
        if picture.window:
            response.headers["Overread-Window"] = ",".join(map(str, picture.window))
    return response.make_conditional(request)


def _accepted(offers: Iterable[str]) -> str:
    found = preferred(request.accept_mimetypes, list(offers))
    if found is None:
        raise NotAcceptableError(f"This is none of what `Accept` names; there is {', '.join(offers)}.")
    return found
