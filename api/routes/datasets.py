"""What was learnt from: dataset snapshots."""

import re
from typing import Any

from apiflask import APIBlueprint
from flask import send_file

from api.auth import auth
from api.paging import integer_cursor, page_of
from api.routes.docs import NDJSON
from api.schemas.training import DatasetList, DatasetQuery, DatasetShown
from api.services import services
from shared.datasets.document import MEDIA_TYPE
from shared.db import reading
from shared.errors import NotFoundError
from shared.models import Dataset
from shared.repositories.datasets import dataset_named, list_datasets
from shared.states import Scope

blueprint = APIBlueprint("datasets", __name__, url_prefix="/api/v1/datasets", tag="Datasets")

# So much of a digest names one.
PREFIX = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(DatasetQuery, location="query")
@blueprint.output(DatasetList)
@blueprint.doc(summary="List dataset snapshots")
def get_datasets(query_data: DatasetQuery) -> Any:
    """What training runs froze, the newest first."""
    with reading(services().engine) as session:
        before = integer_cursor(query_data.cursor)
        found = list_datasets(session, model=query_data.model, before=before, limit=query_data.limit + 1)
        return page_of(found, query_data.limit, _shown, lambda dataset: str(dataset.id))


@blueprint.get("/<string:digest>")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(DatasetShown)
@blueprint.doc(summary="See a dataset snapshot")
def get_dataset(digest: str) -> Any:
    """By its digest, or the first 8 or more characters of it."""
    return _shown(_find(digest))


@blueprint.get("/<string:digest>/instances")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.doc(summary="Read a dataset snapshot", responses=NDJSON)
def get_instances(digest: str) -> Any:
    """The frozen list itself, JSON lines: a head, then an instance a line; its sha256 is the digest."""
    found = _find(digest)
    answer = send_file(services().store.path(found.blob_sha256), mimetype=MEDIA_TYPE, etag=found.blob_sha256)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def _find(digest: str) -> Dataset:
    with reading(services().engine) as session:
        found = dataset_named(session, digest) if PREFIX.fullmatch(digest) else None
    if found is None:
        raise NotFoundError("No one dataset snapshot has such a digest; GET /api/v1/datasets lists them.")
    return found


def _shown(dataset: Dataset) -> DatasetShown:
    base = f"/api/v1/datasets/{dataset.blob_sha256}"
    return DatasetShown(
        digest=dataset.blob_sha256,
        model=dataset.model,
        created_at=dataset.created_at,
        links={"self": base, "instances": f"{base}/instances"},
        **dataset.counts,
    )
