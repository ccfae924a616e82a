"""What was learnt from: dataset snapshots."""

import re
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from flask import send_file

from api.auth import auth
from api.paging import integer_cursor, page_of
from api.routes.docs import NDJSON
from api.schemas.training import DatasetList, DatasetQuery, DatasetShown, ExampleList, ExampleShown, ExamplesQuery
from api.services import services
from shared.datasets.document import MEDIA_TYPE, Sample
from shared.datasets.examples import examples_of
from shared.db import reading
from shared.errors import NotFoundError
from shared.models import Dataset
from shared.repositories.datasets import dataset_named, list_datasets
from shared.repositories.stored_images import uids_of
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
    answer = send_file(_list_of(found), mimetype=MEDIA_TYPE, etag=found.blob_sha256)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


@blueprint.get("/<string:digest>/examples")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(ExamplesQuery, location="query")
@blueprint.output(ExampleList)
@blueprint.doc(summary="See examples of a dataset snapshot")
def get_examples(digest: str, query_data: ExamplesQuery) -> Any:
    """A few instances of each split and class; what shares its UIDs with another file is left out."""
    dataset = _find(digest)
    sizes = {split: counts["classes"] for split, counts in dataset.counts["splits"].items()}
    found = examples_of(_list_of(dataset), sizes, query_data.per_class)
    with reading(services().engine) as session:
        uids = uids_of(session, [sample.sha256 for _, sample in found.items])
    shown = [_example(name, sample, uids[sample.sha256]) for name, sample in found.items if sample.sha256 in uids]
    return ExampleList(items=shown, looked_at=found.looked_at)


def _example(name: str, sample: Sample, uids: tuple[str, str, str]) -> ExampleShown:
    study, series, instance = uids
    return ExampleShown(
        split=sample.split,
        label=name,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        frame=sample.frames[0] if sample.frames else 1,
        links={"thumbnail": f"/dicomweb/studies/{study}/series/{series}/instances/{instance}/thumbnail"},
    )


def _list_of(dataset: Dataset) -> Path:
    if not services().store.exists(dataset.blob_sha256):
        raise NotFoundError("The stored bytes of this snapshot's list are gone.")
    return services().store.path(dataset.blob_sha256)


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
        links={"self": base, "instances": f"{base}/instances", "examples": f"{base}/examples"},
        **dataset.counts,
    )
