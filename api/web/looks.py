"""Frames to look at: where each is, and what its viewer shows over it. Pure."""

from dataclasses import dataclass
from urllib.parse import urlencode

PREVIEW = 160  # pixels a side


@dataclass(frozen=True)
class Look:
    """A frame of an instance, with the id of a heat map where there is one, and what it is called."""

    study: str
    series: str
    instance: str
    frame: int = 1
    heat: int | None = None
    text: str = ""

    @property
    def path(self) -> str:
        """A page of its own."""
        heat = {} if self.heat is None else {"heat": self.heat}
        return f"/images/{self.study}/{self.series}/{self.instance}?{urlencode({'frame': self.frame} | heat)}"

    @property
    def rendered(self) -> str:
        """Its picture, as large as it is."""
        of = f"/dicomweb/studies/{self.study}/series/{self.series}/instances/{self.instance}"
        return f"{of}/frames/{self.frame}/rendered"

    @property
    def preview(self) -> str:
        """A small picture of it."""
        return f"{self.rendered}?viewport={PREVIEW},{PREVIEW}"
