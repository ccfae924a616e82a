"""What a report's document holds, field by field: the models that its JSON Schema is made of."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from shared.model_contract import Aggregation, AllSlices, AllStudies, CentralShare, EveryNth, LatestStudy, WindowDays
from shared.reasons import Reason
from shared.reports.schema_of_people import Changes, FollowUp, Review, VersionSaid
from shared.reports.schema_of_provenance import Provenance
from shared.reports.schema_parts import Count, Number, Part, Probability, Sha256, UidText
from shared.states import MapMethod

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class PatientSaid(Part):
    """The patient, as the files say."""

    key: str = Field(description="For URLs; it says nothing of the PatientID.")
    patient_id: str = Field(description="PatientID (0010,0020); empty where the files have none.")
    issuer: str = Field(description="Who gave the PatientID: from the file, else the site.")
    patient_name: str = Field(description="PatientName (0010,0010), as DICOM writes it (PN).")
    patient_birth_date: str = Field(description="PatientBirthDate (0010,0030), YYYYMMDD; empty where unknown.")
    patient_sex: str = Field(description="PatientSex (0010,0040): M, F, O, or what the file says.")


class ModelSaid(Part):
    """The model version that the results are from."""

    name: str
    version: Number
    digest: Sha256 = Field(description="Of the model package.")
    intended_use: str


class Uncalibrated(Part):
    """A result before calibration."""

    probability: Probability | None
    threshold: Probability


class CountsSaid(Part):
    """Of the images that a finding was looked for in."""

    instances: Count
    over_threshold: Count = Field(description="Those at the operating point or over it.")


class Place(Part):
    """Where in its stack a slice lies, counted from 1."""

    number: Number
    of: Number


class HeatMapLinked(Part):
    """A heat map of a row of evidence."""

    id: int
    method: MapMethod
    links: dict[str, str]


class EvidenceSaid(Part):
    """An image that drove a finding."""

    sop_instance_uid: UidText
    series_instance_uid: UidText
    blob_sha256: Sha256 = Field(description="Of the file.")
    frame: Number = Field(description="The frame that led, counted from 1.")
    slice: Place | None = Field(description="None where no position is known.")
    probability: Probability = Field(description="Of this image, as the network gives it: not calibrated.")
    conflict: bool = Field(description="Another file bears the same SOP Instance UID.")
    heat_map: HeatMapLinked | None = Field(None, description="Only in what the API gives.")
    no_heat_map: str | None = Field(None, description="Only in what the API gives: why there is none.")


class FindingSaid(Part):
    """What the model says of one finding of the patient."""

    code: str
    display: str
    background: bool = Field(description="The class that means nothing was found.")
    probability: Probability | None = Field(description="Calibrated where the package says how; none: nothing counted.")
    threshold: Probability = Field(description="The operating point, on the scale of the probability.")
    aggregation: Aggregation | None = Field(description="How it is rolled up, where otherwise than the others.")
    uncalibrated: Uncalibrated | None = Field(description="The same before calibration; none where there is none.")
    decision: bool | None = Field(description="Whether it is at the operating point or over; none of a background.")
    counts: CountsSaid
    evidence: list[EvidenceSaid] = Field(description="The images that led, at most 5.", max_length=5)


class Completeness(Part):
    """How much of what was asked about the result rests on."""

    instances: Count
    predicted: Count
    share: Probability


class EngineSaid(Part):
    """What computed the frames that count."""

    engine: str
    precision: str
    batch_size: Number | None = Field(description="Frames at once; none where it was not recorded.")
    frames: Number = Field(description="So many of them.")


class Excluded(Part):
    """An image that is not part of the result, and why."""

    sop_instance_uid: UidText
    reason: Reason
    reason_text: str
    detail: str


class StudySaid(Part):
    """A study of the patient that the model was asked about."""

    study_instance_uid: UidText
    study_date: str = Field(description="YYYYMMDD; empty where unknown.")
    modalities: list[str]
    in_scope: bool = Field(description="Whether the patient's result is about it.")
    conflict: bool = Field(description="It was found under two patients.")
    probabilities: dict[str, Probability | None] = Field(description="By the finding's code.")


class SliceImage(Part):
    """An image of a slice."""

    sop_instance_uid: UidText
    frame: Number


class NamedSlice(Part):
    """A slice of a stack, and its images, at most 20."""

    number: Number
    images: list[SliceImage]


class GapSaid(Part):
    """A wider distance between neighbours than the stack's spacing."""

    after: NamedSlice
    expected_mm: float = Field(ge=0.0, description="The spacing.")
    found_mm: float = Field(ge=0.0)


class StackSaid(Part):
    """Slices that lie one behind another."""

    sop_instance_uid: UidText | None = Field(description="Of a multi-frame instance, whose frames they are.")
    ordered_by: Literal["position", "number"]
    slices: Count
    selected: Count = Field(description="So many were predicted on.")
    spacing_mm: float | None
    num_gaps: Count | None
    gaps: list[GapSaid] = Field(description="The first 20.")
    num_duplicates: Count | None
    duplicates: list[NamedSlice] = Field(description="Places with several images, the first 20.")


class SeriesSaid(Part):
    """The stacks of a series."""

    study_instance_uid: UidText
    series_instance_uid: UidText
    select: AllSlices | EveryNth | CentralShare
    num_stacks: Count
    stacks: list[StackSaid] = Field(description="The first 100.")


class TrendPoint(Part):
    """What a version of the model said of a study."""

    study_instance_uid: UidText
    study_date: str
    model_version: Number
    probabilities: dict[str, Probability | None]


class ReportDocument(Part):
    """What a report version says about a patient, and why."""

    model_config = ConfigDict(title="Overread report")

    schema_name: Literal["overread.report/1", "overread.report/2"] = Field(alias="schema")
    untrained: bool = Field(description="The model has learnt nothing: its probabilities are chance.")
    patient: PatientSaid
    model: ModelSaid
    version: VersionSaid | None = Field(None, description="Not in documents of before `overread.report/2`.")
    changes: Changes | None = Field(None, description="What is said otherwise than in the version before.")
    findings: list[FindingSaid]
    completeness: Completeness
    engines: list[EngineSaid] = Field(default_factory=list)
    excluded: list[Excluded]
    studies: list[StudySaid]
    series: list[SeriesSaid] = Field(default_factory=list)
    trend: list[TrendPoint] = Field(default_factory=list, description="Oldest first.")
    time_scope: LatestStudy | WindowDays | AllStudies
    aggregation: Aggregation
    review: Review | None = Field(None, description="Only in versions that people made.")
    follow_ups: list[FollowUp] = Field(default_factory=list)
    provenance: Provenance | None = None


def report_schema() -> dict[str, Any]:
    """The JSON Schema of a report's document."""
    return {"$schema": DIALECT} | ReportDocument.model_json_schema(by_alias=True)
