"""What `submit` finds out before it sends the first byte, so that no hopeless upload is made."""

from typing import NoReturn

from api.cli.client import Client, Json, patiently
from api.cli.errors import ApiError
from api.cli.ids import is_id
from api.cli.registry import MODELS
from api.cli.transfer import ATTEMPTS
from shared.errors import InvalidRequestError, NotFoundError

FORBIDDEN = 403
NOT_FOUND = 404
CHAMPION = "champion"


def check_model(client: Client, wanted: str) -> None:
    """Raise InvalidRequestError when the model is not there, or not clear without a name."""
    models = _readable(client, MODELS)
    if models is None:
        return
    versions = [f"{model['name']}:{model['version']}" for model in models["items"]]
    champions = [model["name"] for model in models["items"] if model["state"] == CHAMPION]
    if not versions:
        raise InvalidRequestError("there is no model yet: add one with overread models add PACKAGE")
    if wanted and wanted not in {*champions, *versions}:
        # Who asked for a version, or has no champions, is helped by versions.
        there = versions if ":" in wanted or not champions else champions
        raise InvalidRequestError(f"no model is called {wanted}; there are: {', '.join(there)}")
    if not wanted and len(champions) != 1:
        raise InvalidRequestError(f"name one with --model: {', '.join(champions or versions)}")


def find_upload(client: Client, upload_id: str) -> Json | None:
    """The upload to continue, with its files; None when the token may send but not read."""
    if not is_id(upload_id):
        _no_upload(upload_id)
    try:
        return _readable(client, f"/api/v1/uploads/{upload_id}")
    except ApiError as error:
        if error.status == NOT_FOUND:
            _no_upload(upload_id)
        raise


def _readable(client: Client, path: str) -> Json | None:
    try:
        return patiently(lambda: client.get(path), ATTEMPTS)
    except ApiError as error:
        if error.status == FORBIDDEN:  # a token made for sending alone: the server checks later
            return None
        raise


def _no_upload(upload_id: str) -> NoReturn:
    raise NotFoundError(f"no upload has the id {upload_id}")
