"""Shapes of uploads."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas.base import Label, Shape, Wanted
from shared.reasons import Reason
from shared.states import FileOutcome

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class UploadWanted(Wanted):
    """An upload to be filled by later requests."""

    label: Label = ""


class UploadedFile(Shape):
    """What became of one file."""

    name: str
    outcome: FileOutcome
    sha256: str | None
    size_bytes: int
    reason: Reason | None = None
    reason_text: str | None = None
    detail: str = ""


class UploadCounts(Shape):
    """Sums over the files."""

    stored: int
    duplicate: int
    rejected: int


class UploadShown(Shape):
    """An upload and its files: of this request, or all where it is read."""

    id: UUID
    label: str
    created_at: datetime
    counts: UploadCounts
    files: list[UploadedFile]


class MissingWanted(Wanted):
    """Digests of the files that a client wants to send."""

    sha256: list[Sha256] = Field(max_length=200_000)


class MissingShown(Shape):
    """Which bytes the server lacks; those it has are part of the upload now."""

    missing: list[str]
    attached: int
