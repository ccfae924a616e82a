"""The part of a report's document that says how it was made."""

from pydantic import AwareDatetime, Field

from shared.reports.schema_parts import Count, Number, Part, Sha256, UidText


class InputSaid(Part):
    """An image that was predicted on."""

    sop_instance_uid: UidText
    blob_sha256: Sha256 = Field(description="Of the file.")
    generation: Count = Field(description="Of its predictions: each forced run adds one.")
    frames: Number
    vectors: str = Field(pattern=r"^[0-9a-f]{32,64}$", description="A digest of its frames' probabilities.")
    environment: Count = Field(0, description="Its place in `software.environments`.")
    counted: bool = Field(True, description="False where its study is not one that the result is about.")


class PackageSaid(Part):
    """The files of the model package."""

    digest: Sha256
    contract_sha256: Sha256
    weights_sha256: Sha256


class EnvironmentSaid(Part):
    """What predictions were computed in."""

    python: str
    packages: dict[str, str] = Field(description="Versions of all that a frame went through, by name.")
    hardware: str


class SoftwareSaid(Part):
    """What computed."""

    overread: str = Field(description="The version that made the report.")
    environments: list[EnvironmentSaid | None] = Field(
        description="Of the predictions; none where it was not recorded."
    )


class JobSaid(Part):
    """The job that led to it, and who asked."""

    id: str
    label: str
    asked_by: str
    asked_at: AwareDatetime
    started_at: AwareDatetime | None


class SealSaid(Part):
    """How far the audit chain was."""

    sequence: Count
    digest: str


class Provenance(Part):
    """How the report was made, from the record itself."""

    inputs: list[InputSaid]
    left_out: dict[str, list[Sha256]] = Field(description="The files without predictions, by the reason's code.")
    conflicts: list[Sha256] = Field(description="The files whose SOP Instance UID another file has too.")
    model: PackageSaid
    software: SoftwareSaid
    job: JobSaid
    audit_chain: SealSaid
    inputs_digest: Sha256 = Field(description="Of the model, the studies and every input, as one.")
