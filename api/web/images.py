"""An image of its own, with those of its series."""

from typing import Any

from flask import request

from api.web.inner import ask
from api.web.looks import Look
from api.web.site import blueprint, page, words


@blueprint.get("/images/<string:study>/<string:series>/<string:instance>")
def get_image(study: str, series: str, instance: str) -> Any:
    """One viewer; `frame` and a heat map's id in `heat` are optional."""
    # Whether it is there at all is told by the page, not by an empty viewer.
    ask(f"/dicomweb/studies/{study}/series/{series}/instances", SOPInstanceUID=instance)
    return page(
        "image.html",
        look=Look(
            study,
            series,
            instance,
            frame=request.args.get("frame", 1, type=int),
            heat=request.args.get("heat", type=int),
            text=words().say("viewer.image"),
        ),
    )
