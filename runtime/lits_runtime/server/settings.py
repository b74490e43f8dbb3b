"""What a server is told when it starts."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of one server; plain values."""

    state: Path
    """Folder of the queue and its files, one server's own."""
    model: Path | None = None
    """None: the bundled model."""
    model_sha256: str | None = None
    """Of its only content to accept."""
    provider: str = "auto"
    device_ids: tuple[int, ...] = (0,)
    """One worker process for each."""
    threads: int | None = None
    """Of each worker, on the CPU."""
    max_upload_bytes: int = 2 * 2**30
    max_jobs: int = 100
    """That are received, queued or running at once."""
    keep_s: float = 3 * 86_400.0
    """How long a finished job and its files are kept."""
    attempts: int = 3
    """How often a job is begun before a worker that dies in it makes it fail."""
    job_limit_s: float = 3600.0
    """After which a worker is ended, and its job fails."""
    grace_s: float = 30.0
    """How long the jobs in hand may go on when the server ends."""


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and to whom."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    """That a request must carry; None: anyone may use the server."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the server may be addressed beside its own."""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this computer can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True)
class NodeSettings:
    """Settings of the DICOM node; plain values."""

    port: int
    host: str = "127.0.0.1"
    ae_title: str = "LITS"
    calling_aes: tuple[str, ...] | None = ()
    """AE titles that may send, beside those of the peers; None: any."""
    peers: tuple[str, ...] = ()
    """That get the results, as `sending.peers` reads them."""
    peer_authorization: str | None = None
    """Header of requests to DICOMweb peers."""
    rules: Path | None = None
    """Which series to take; None: CT of at least 10 images."""
    complete_after_s: float = 60.0
    """How long after its last image a series is complete."""
    aborted_after_s: float = 600.0
    """The same if the sender broke off."""
    give_up_s: float = 86_400.0
    """How long the delivery of a result is tried."""
    max_associations: int = 20
    certificate: Path | None = None
    """With it and its key, all is done over TLS, in both directions."""
    key: Path | None = None
    ca: Path | None = None
    """Whose certificates senders and peers must have; None: senders need none, and those of peers
    are checked against the system's."""
