"""What the schemas of all domains have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Schema(BaseModel):
    """Base of all schemas.

    Refuses unknown fields, and numbers that JSON cannot say though PostgreSQL stores them (NaN).
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, from_attributes=True)


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text that PostgreSQL can store: it knows no NUL character."""
