"""How a server that stops treats those who are connected."""

from .limits import BoundedProtocol

# Seconds in which a request that is on its way arrives.
_GRACE = 0.5


class DrainingProtocol(BoundedProtocol):
    """HTTP/1.1 of a server that stops, and answers everybody whom it has let in.

    uvicorn hangs up on connections at once that have no request in progress, also on those it has
    accepted a moment before and whose first request it has not read yet.
    """

    def shutdown(self) -> None:
        """Answer the request that is in progress, or comes now, then hang up."""
        self.loop.call_later(_GRACE, super().shutdown)
