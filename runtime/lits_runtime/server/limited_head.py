"""HTTP connections on which a request must begin in time."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class LimitedHead(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection whose first request has no complete head after a while.

    uvicorn limits the time between requests, but not that before the first one: connections on
    which nothing comes, or byte after byte, would use up the limit on their number.
    """

    patience_s = 30.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and look again later."""
        super().connection_made(transport)
        self._look = asyncio.get_running_loop().call_later(self.patience_s, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._look.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        protocol: Any = self
        if protocol.cycle is None:
            protocol.transport.close()
