"""Whether the service is up, whether it can work, and its figures for Prometheus."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.auth import auth
from api.broker import OK
from api.routes.docs import PLAIN_TEXT
from api.schemas.operations import Disk, Health
from api.services import Services, services
from api.views.queues import lane_shown
from api.views.situation import Situation
from shared.db import reading
from shared.errors import TransientError
from shared.repositories.notices import count_notices
from shared.repositories.tallies import FRAMES_PREDICTED, FRAMES_REPEATED, HEAT_MAPS, HEAT_MAPS_MISSING, jobs_in
from shared.repositories.worklist import count_overdue
from shared.schema import schema_is_current
from shared.states import JobState, Lane, NoticeState, Scope

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
    """`ok` when database, schema and disk are as they must be and the broker answers.

    Without the broker it is `degraded`, still with 200: submissions are taken and nothing is lost, so requests should
    come here as before; the jobs run when the broker returns. Anything else is `not ready`, with 503.
    """
    of = services()
    needed = {"database": _database(of), "disk": _disk(of)}
    outage = of.broker.outage()
    checks = needed | {"broker": outage.sentence if outage else OK}
    if any(said != OK for said in needed.values()):
        return {"status": "not ready", "checks": checks}, 503
    return {"status": "degraded" if outage else "ok", "checks": checks}, 200


@blueprint.get("/api/v1/disk")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(Disk)
@blueprint.doc(summary="See how much disk is left")
def get_disk() -> Any:
    """Of the disk that files, models and documents are stored on."""
    free_bytes, total_bytes = services().store.room()
    min_free_bytes = services().settings.min_free_bytes
    return {"free_bytes": free_bytes, "total_bytes": total_bytes, "min_free_bytes": min_free_bytes}


def _database(of: Services) -> str:
    try:
        with reading(of.engine) as session:
            return OK if schema_is_current(session.connection()) else "schema is not current: run `overread migrate`"
    except SQLAlchemyError as error:
        return f"cannot be reached ({type(error).__name__})"


def _disk(of: Services) -> str:
    try:
        free = of.store.free_bytes()
    except TransientError as error:
        return error.message
    return OK if free >= of.settings.min_free_bytes else "nearly full: uploads are refused"


@blueprint.get("/metrics")
@blueprint.doc(summary="Figures for Prometheus", responses=PLAIN_TEXT)
def get_metrics() -> Response:
    """Jobs, lanes and workers as gauges from the database, so that they survive restarts; no labels about patients."""
    registry = CollectorRegistry()
    with reading(services().engine) as session:
        _collect(session, Situation(session, services()), registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _collect(session: Session, situation: Situation, registry: CollectorRegistry) -> None:
    jobs = Gauge("overread_jobs", "Jobs by state.", ["state"], registry=registry)
    for state in JobState:
        jobs.labels(state.value).set(situation.totals[jobs_in(state)])
    figures: dict[str, tuple[str, float]] = {
        "broker_up": ("1 while the broker answers, else 0.", situation.outage is None),
        "workers": ("Live workers.", len(situation.workers)),
        "frames_predicted": ("Frames predicted since the start.", situation.totals[FRAMES_PREDICTED]),
        "frames_repeated": (
            "Those of them that were too close to a threshold for the fast engine, so that the reference decided.",
            situation.totals[FRAMES_REPEATED],
        ),
        "heat_maps": ("Heat maps made since the start.", situation.totals[HEAT_MAPS]),
        "heat_maps_missing": ("Heat maps that could not be made.", situation.totals[HEAT_MAPS_MISSING]),
        "worker_rss_bytes": ("Memory of all live workers.", sum(worker.rss_bytes for worker in situation.workers)),
    }
    overdue = Gauge(
        "overread_follow_ups_overdue", "Follow-ups that should have been done by now.", ["urgency"], registry=registry
    )
    for urgency, number in count_overdue(session).items():
        overdue.labels(urgency.value).set(number)
    notices = Gauge("overread_notices", "Notices to webhooks that did not arrive yet.", ["state"], registry=registry)
    for notice_state, number in count_notices(session, (NoticeState.PENDING, NoticeState.DEAD)).items():
        notices.labels(notice_state.value).set(number)
    for name, (text, value) in figures.items():
        Gauge(f"overread_{name}", text, registry=registry).set(value)
    _collect_lanes(session, situation, registry)


def _collect_lanes(session: Session, situation: Situation, registry: CollectorRegistry) -> None:
    figures = {
        "paused": "1 while the lane is paused, else 0.",
        "queued_shards": "Shards waiting in the lane.",
        "queued_items": "Items of shards waiting in the lane.",
        "running_shards": "Shards in the hands of workers.",
        "oldest_age_s": "Age of the oldest waiting shard in seconds.",
        "items_per_s": "Items that got an outcome per second, over the last minute.",
    }
    gauges = {name: Gauge(f"overread_lane_{name}", text, ["lane"], registry=registry) for name, text in figures.items()}
    for lane in Lane:
        shown = lane_shown(session, lane, situation)
        shown["paused"] = shown["paused"] is not None
        for name, gauge in gauges.items():
            gauge.labels(lane.value).set(shown[name] or 0)
