"""Times and sizes of the transport (engine design, sections 5 and 16)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a node grants its peers; the defaults are those of the design."""

    handshake_s: float = 5.0
    """From the first byte (when dialling: from the attempt) to the peer's HELLO."""
    handshakes: int = 64
    """Incoming handshakes in progress."""
    handshakes_per_address: int = 4
    """Of these, from one remote address."""
    ping_after_s: float = 15.0
    """Silence after which the peer is asked for a sign of life."""
    close_after_s: float = 45.0
    """Silence after which the connection is given up."""
    queued_messages: int = 1024
    """Messages that wait to be sent to one peer."""
    queued_bytes: int = 64 * 1024 * 1024
    """Bytes of these messages."""
    first_retry_s: float = 0.1
    """Pause after the first failed attempt to connect; it doubles with each further one."""
    first_penalty_s: float = 1.0
    """How long a peer stays away that sent what the engine does not want; doubles each time."""
    longest_penalty_s: float = 60.0
    """Where that doubling ends."""
    longest_retry_s: float = 10.0
    """Where the doubling ends; also how long a connection must last to begin anew."""
