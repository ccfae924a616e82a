"""Builds the Flask application: blueprints, error handlers, documentation."""

from typing import Any

from apiflask import APIFlask
from flask import request

from api.dicomweb import routes as dicomweb
from api.errors import register_error_handlers
from api.routes import (
    activity,
    audit,
    cancels,
    datasets,
    docs,
    follow_ups,
    gates,
    health,
    heat_maps,
    jobs,
    labels,
    model_cards,
    models,
    notices,
    principals,
    quality,
    queues,
    reports,
    retries,
    reviews,
    schedules,
    schemas,
    sessions,
    setting_values,
    tokens,
    uploads,
    verifications,
    webhooks,
)
from api.services import EXTENSION, Services, make_services, services
from api.web import pages as web
from shared.config import Settings

DESCRIPTION = """
Bulk DICOM studies in; CNN inference by queued jobs; one preliminary report per patient out.

Send files with `POST /api/v1/uploads`, ask for predictions with `POST /api/v1/jobs`, follow the job, read the reports.
Every error is `application/problem+json` (RFC 9457). Every request carries a bearer token.
"""

# Views whose body may be files.
STREAMED = frozenset(
    {"uploads.post_upload", "uploads.post_more_files", "jobs.post_job", "models.post_model", "web.post_files"}
)


def create_app(settings: Settings, given: Services | None = None) -> APIFlask:
    """The API over these settings."""
    app = APIFlask(
        "api",
        title="Overread",
        version="1",
        spec_path="/openapi.json",
        docs_path=None,
        json_errors=False,
        root_path=str(docs.API_FOLDER),
        static_folder=None,  # type: ignore[arg-type]  # only the pages have such files
    )
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        DESCRIPTION=DESCRIPTION,
        AUTO_SERVERS=False,
        AUTO_404_RESPONSE=False,
        AUTO_OPERATION_ID=True,
        VALIDATION_ERROR_SCHEMA=docs.PROBLEM_SCHEMA,
        HTTP_ERROR_SCHEMA=docs.PROBLEM_SCHEMA,
        JSON_SORT_KEYS=False,
    )
    app.extensions[EXTENSION] = given or make_services(settings)
    register_error_handlers(app)
    for blueprint in (
        uploads.blueprint,
        jobs.blueprint,
        retries.blueprint,
        cancels.blueprint,
        queues.blueprint,
        activity.blueprint,
        reports.blueprint,
        reviews.blueprint,
        quality.blueprint,
        verifications.blueprint,
        schemas.blueprint,
        heat_maps.blueprint,
        follow_ups.blueprint,
        labels.blueprint,
        schedules.blueprint,
        datasets.blueprint,
        models.blueprint,
        model_cards.blueprint,
        gates.blueprint,
        webhooks.blueprint,
        notices.blueprint,
        sessions.blueprint,
        tokens.blueprint,
        principals.blueprint,
        audit.blueprint,
        setting_values.blueprint,
        health.blueprint,
        docs.blueprint,
        dicomweb.blueprint,
        web.blueprint,
    ):
        app.register_blueprint(blueprint)

    @app.before_request
    def _bound_json() -> None:
        # Bodies of files are streamed and bounded where they are read; everything else is read into memory.
        streamed = request.endpoint in STREAMED and request.mimetype not in ("", "application/json")
        if not streamed:
            request.max_content_length = services().settings.max_json_bytes

    @app.spec_processor
    def _complete(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
        return docs.complete_spec(spec) if isinstance(spec, dict) else spec

    return app
