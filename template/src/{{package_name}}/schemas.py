"""What the schemas of all domains have in common."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field


class Schema(BaseModel):
    """Base of all schemas.

    Refuses unknown fields, and numbers that JSON cannot say though PostgreSQL stores them (NaN).
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, from_attributes=True)


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text that PostgreSQL can store: it knows no NUL character."""


def _as_described(value: Any) -> Any:
    # Pydantic also takes numbers, and numbers in strings, which OpenAPI's date-time does not.
    if isinstance(value, datetime) or re.match(r"\d{4}-\d\d-\d\d[Tt ]", str(value)):
        return value
    raise ValueError("A date and time is written like 2027-01-31T23:59:59Z")


Timestamp = Annotated[AwareDatetime, BeforeValidator(_as_described)]
"""A point in time, with its offset: PostgreSQL would store one without as if it were ours."""
