"""What all parts of a model's contract share: they are frozen, and refuse fields that they do not know."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]


class Part(BaseModel):
    """A part of `model.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)

    @cached_property
    def document(self) -> dict[str, Any]:
        """As JSON has it, made once: whoever needs another one makes a copy."""
        return self.model_dump(mode="json")
