"""The settings as they are in force, without what is secret."""

from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.schemas.settings import SettingList
from api.services import services
from api.views.settings import settings_shown
from shared.states import Scope

blueprint = APIBlueprint("settings", __name__, url_prefix="/api/v1/settings", tag="Settings")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.ADMIN.value])
@blueprint.output(SettingList)
@blueprint.doc(summary="See the settings")
def get_settings() -> Any:
    """Those of the process that answers, read once at its start; passwords in URLs are shown as `***`."""
    return {"items": settings_shown(services().settings)}
