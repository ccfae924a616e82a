"""What the parts of a report's schema share."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
UidText = Annotated[str, Field(description="A DICOM UID.", max_length=64)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[AwareDatetime, Field(description="ISO 8601, with its zone.")]


class Part(BaseModel):
    """A part of the document; it has no other fields."""

    model_config = ConfigDict(extra="forbid")
