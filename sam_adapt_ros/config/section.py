"""What every section of the schema shares.

A field is written ``name: type = Field(default, description="...")``. The description gives the meaning of the value,
then its unit in brackets; the type and its constraints are the range. The parameter reference and the nodes' parameter
descriptors are made from them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sam_adapt_ros.resources import expand_home

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
FilePath = Annotated[str, AfterValidator(expand_home)]
"""A file, a folder, or the name of a file of the package; ``~`` is the home folder at whichever door it comes in, and
what is relative, relative to the working folder."""


class Section(BaseModel):
    """A group of parameters; unknown names are errors, so that a typing slip is never silently a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
