"""Whether the service is up, whether it can work, and its figures for Prometheus."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.routes.docs import PLAIN_TEXT
from api.routes.queues import lane_shown
from api.schemas.operations import Health
from api.services import Services, services
from shared.db import reading
from shared.errors import TransientError
from shared.models import Job
from shared.repositories.workers import live_workers
from shared.schema import schema_is_current
from shared.states import JobState, Lane

blueprint = APIBlueprint("health", __name__, tag="Health")


@blueprint.get("/healthz")
@blueprint.output(Health)
@blueprint.doc(summary="Is the process up")
def get_healthz() -> Any:
    """The process answers."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@blueprint.output(Health)
@blueprint.doc(summary="Can it work", responses={503: "Not ready"})
def get_readyz() -> Any:
    """Database, schema and disk are as they must be."""
    checks = {"database": _database(services()), "disk": _disk(services())}
    ready = all(said == "ok" for said in checks.values())
    return {"status": "ok" if ready else "not ready", "checks": checks}, 200 if ready else 503


def _database(of: Services) -> str:
    try:
        with reading(of.engine) as session:
            return "ok" if schema_is_current(session.connection()) else "schema is not current: run `overread migrate`"
    except SQLAlchemyError as error:
        return f"cannot be reached ({type(error).__name__})"


def _disk(of: Services) -> str:
    try:
        free = of.store.free_bytes()
    except TransientError as error:
        return error.message
    return "ok" if free >= of.settings.min_free_bytes else "nearly full: uploads are refused"


@blueprint.get("/metrics")
@blueprint.doc(summary="Figures for Prometheus", responses=PLAIN_TEXT)
def get_metrics() -> Response:
    """Jobs, lanes and workers as gauges from the database, so that they survive restarts; no labels about patients."""
    registry = CollectorRegistry()
    with reading(services().engine) as session:
        _collect(session, registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _collect(session: Session, registry: CollectorRegistry) -> None:
    jobs = Gauge("overread_jobs", "Jobs by state.", ["state"], registry=registry)
    counts = dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).all())
    for state in JobState:
        jobs.labels(state.value).set(counts.get(state, 0))
    workers = live_workers(session)
    Gauge("overread_workers", "Live workers.", registry=registry).set(len(workers))
    Gauge("overread_worker_rss_bytes", "Memory of all live workers.", registry=registry).set(
        sum(worker.rss_bytes for worker in workers)
    )
    figures = {
        "queued_shards": "Shards waiting in the lane.",
        "queued_items": "Items of shards waiting in the lane.",
        "running_shards": "Shards in the hands of workers.",
        "oldest_age_s": "Age of the oldest waiting shard in seconds.",
        "items_per_s": "Items that got an outcome per second, over the last minute.",
    }
    gauges = {name: Gauge(f"overread_lane_{name}", text, ["lane"], registry=registry) for name, text in figures.items()}
    for lane in Lane:
        shown = lane_shown(session, lane, workers)
        for name, gauge in gauges.items():
            gauge.labels(lane.value).set(shown[name] or 0)
