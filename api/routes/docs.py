"""The documentation page, its assets out of an installed wheel, and what the OpenAPI generator cannot know."""

import importlib.util
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from flask import Response, send_from_directory
from pydantic import BaseModel

from api.documents.formats import FORMATS
from api.errors import PROBLEM_JSON
from api.schemas.base import Problem
from api.schemas.heat_maps import HeatMapShown
from api.schemas.jobs import JobWanted
from api.schemas.reports import ReportShown
from api.schemas.training import TrainingWanted
from api.schemas.uploads import UploadWanted

API_FOLDER = Path(__file__).parent.parent
PROBLEM_SCHEMA = Problem.model_json_schema()

blueprint = APIBlueprint("docs", __name__, enable_openapi=False)

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FILES = {
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"files": {"type": "array", "items": _BINARY["schema"]}}}
    },
    "application/zip": _BINARY,
    "application/dicom": _BINARY,
}


def _json(*models: type[BaseModel]) -> dict[str, Any]:
    """A JSON document of one of these shapes."""
    schemas = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}


# Bodies that are streamed past the framework's parsing, which therefore does not know them.
_REQUEST_BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/uploads": _json(UploadWanted) | _FILES,
    "/api/v1/uploads/{upload_id}": _FILES,
    "/api/v1/jobs": _json(JobWanted, TrainingWanted) | _FILES,
    "/api/v1/models": {"application/zip": _BINARY},
}
_BODY_MODELS: tuple[type[BaseModel], ...] = (
    UploadWanted,
    JobWanted,
    TrainingWanted,
    HeatMapShown,
    ReportShown,
    Problem,
)

# How the generator is told of an answer that is no JSON.
PLAIN_TEXT: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "Prometheus text", "content": {"text/plain": {}}}
}
WEB_PAGE: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "A page", "content": {"text/html": {}}}
}
NDJSON: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "JSON lines", "content": {"application/x-ndjson": {}}}
}

PICTURE: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "A picture", "content": {"image/png": _BINARY}}
}
RENDERED: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {
        "description": "A picture; `Overread-Window` is the window it is shown in",
        "content": {"image/jpeg": _BINARY, "image/png": _BINARY},
    },
    304: {"description": "`If-None-Match` names what there is"},
    406: {"description": "`Accept` names nothing that there is", "content": _json(Problem)},
}
DICOM_JSON: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "Data sets (PS3.18, F)", "content": {"application/dicom+json": {}}},
    406: {"description": "`Accept` names nothing that there is", "content": _json(Problem)},
}
HEAT_MAP: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {
        "description": "A heat map",
        "content": _json(HeatMapShown) | {"application/octet-stream": _BINARY},
    }
}
SCHEMA: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {"description": "A JSON Schema (2020-12)", "content": {"application/schema+json": {}}}
}

# What a report is to be had as; what each is, is in api.documents.formats.
REPORT: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {
        "description": "The report, in the form asked for; its ETag is the sha256 of a document's bytes, and of the "
        "JSON form that of the content",
        "content": _json(ReportShown) | {one.media_type: _BINARY for one in FORMATS.values()},
    },
    304: {"description": "`If-None-Match` names what there is"},
    406: {"description": "`Accept` names nothing that a report is to be had as", "content": _json(Problem)},
    501: {"description": "No font on the server has the language's characters", "content": _json(Problem)},
}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Overread API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/assets/css/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/assets/js/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


@blueprint.get("/docs")
def get_docs() -> Response:
    """The API's documentation, to read and to try."""
    return Response(PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})


@blueprint.get("/docs/start.js")
def get_start() -> Response:
    """Starts the page."""
    return Response(START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/assets/<path:name>")
def get_asset(name: str) -> Response:
    """Swagger UI's own files."""
    return send_from_directory(_assets_folder(), name, max_age=86_400)


def _assets_folder() -> Path:
    # Found without importing the package, which would import a web framework that is not ours.
    found = importlib.util.find_spec("flask_openapi3_swagger")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("flask-openapi3-swagger is not installed; install overread with its `api` extra")
    return Path(found.submodule_search_locations[0]) / "templates" / "swagger"


def complete_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Add bodies that the framework does not know, and say of every error response that it is a problem document."""
    schemas = spec["components"].setdefault("schemas", {})
    for model in _BODY_MODELS:
        schema = model.model_json_schema(ref_template=f"#/components/schemas/{model.__name__}.{{model}}")
        parts = schema.pop("$defs", {})
        schemas |= {f"{model.__name__}.{name}": part for name, part in parts.items()} | {model.__name__: schema}
    for path, content in _REQUEST_BODIES.items():
        spec["paths"][path]["post"]["requestBody"] = {"content": content}
    suffixes = ["json", *(one.suffix for one in FORMATS.values())]
    for parameter in spec["paths"]["/api/v1/reports/{report_id}.{suffix}"]["get"]["parameters"]:
        if parameter["name"] == "suffix":
            parameter["schema"]["enum"] = suffixes
    for operations in spec["paths"].values():
        for operation in operations.values():
            _require_if_match(operation)
            for status, response in operation.get("responses", {}).items():
                if status.startswith(("4", "5")) and "application/json" in response.get("content", {}):
                    response["content"] = {PROBLEM_JSON: response["content"]["application/json"]}
    return spec


def _require_if_match(operation: dict[str, Any]) -> None:
    """To the framework it is optional, so that the routes can answer 428, in words, where it is left out."""
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "If-Match":
            parameter["required"] = True
