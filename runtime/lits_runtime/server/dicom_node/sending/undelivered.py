"""Why results were not delivered, raised by the protocols and caught where deliveries are noted."""


class PeerError(Exception):
    """The peer cannot be reached, or takes nothing at all; the message is for the outbox."""
