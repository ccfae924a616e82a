"""Shapes of uploads."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas.base import Label, Page, Shape, Wanted
from api.schemas.jobs import ExplainWanted
from shared.reasons import Reason
from shared.states import Explain, FileOutcome

FileName = Annotated[str, StringConstraints(max_length=4096)]
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


class Planned(StrEnum):
    """What a job over the upload would do with a file that is stored; named as a dry run's counts are."""

    NEW = "new"
    ALREADY_PREDICTED = "already_predicted"
    NOT_ACCEPTED = "not_accepted"
    NO_PIXEL_DATA = "no_pixel_data"
    NOT_SELECTED = "not_selected"


class FileQuery(Page):
    """Which files of an upload, and what is to be said of them."""

    outcome: FileOutcome | None = None
    model: str | None = Field(
        None, max_length=80, description="`name` (its champion) or `name:version`: says what it would do with each."
    )
    explain: ExplainWanted = Explain.POSITIVES


class FileShown(UploadedFile):
    """What one file is, as the index has it: null where it was rejected."""

    id: int
    patient_id: str | None
    modality: str | None
    study_date: str | None = Field(description="As DICOM writes it: 20260131; empty where the file has none.")
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None
    number_of_frames: int | None
    planned: Planned | None = Field(description="Null where no `model` was named, and of what was rejected.")
    planned_detail: str = Field(description="Why the model does not accept it, or does not select the slice.")


class UploadCounts(Shape):
    """Sums over the files."""

    stored: int
    duplicate: int
    rejected: int


class FileList(Shape):
    """A page of an upload's files in the order they came."""

    counts: UploadCounts = Field(description="Of all files of the upload.")
    items: list[FileShown]
    next: str | None


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
    names: dict[Sha256, FileName] = Field(
        default_factory=dict, description="What the client calls them, to be shown with them; by sha256."
    )


class MissingShown(Shape):
    """Which bytes the server lacks; those it has are part of the upload now."""

    missing: list[str]
    attached: int
