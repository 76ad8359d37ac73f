"""What the fuzzer cannot know of our schema."""

from typing import Any
from uuid import uuid4

import schemathesis

KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(_context: Any, case: "schemathesis.Case[Any]", _kwargs: Any) -> None:
    """A valid key is used once: with another request it is refused, though the schema allows it."""
    if 1 <= len(case.headers.get(KEY) or "") <= 255:
        case.headers[KEY] = uuid4().hex
