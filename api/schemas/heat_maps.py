"""Shapes of heat maps."""

from api.schemas.base import Shape
from api.schemas.jobs import ModelNamed
from shared.states import MapMethod


class HeatMapNamed(Shape):
    """A heat map where evidence names it."""

    id: int
    method: MapMethod
    links: dict[str, str]


class HeatMapShown(HeatMapNamed):
    """Where in a frame a network saw a finding: what each cell of the frame adds to the finding's logit."""

    finding: str
    display: str
    sha256: str
    frame: int
    model: ModelNamed
    rows: int
    columns: int
    values: list[list[float]]
