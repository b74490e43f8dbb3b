"""TLS of the node: as the one that is called, and as the one that calls."""

import ssl
from pathlib import Path

from lits_runtime.errors import OptionsError
from lits_runtime.messages import brief, printable
from lits_runtime.server.settings import NodeSettings


def listening_context(settings: NodeSettings) -> ssl.SSLContext | None:
    """For senders, who need a certificate of `ca` if that is given; None without TLS.

    Raises:
        OptionsError: a file is no PEM, or key and certificate do not belong together.
    """
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, settings)
    if settings.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling_context(settings: NodeSettings) -> ssl.SSLContext:
    """For peers, whose certificates must be for the names by which they are addressed.

    Raises:
        OptionsError: as above.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: NodeSettings) -> None:
    if settings.certificate is not None and settings.key is not None:
        try:
            context.load_cert_chain(settings.certificate, settings.key)
        except (ssl.SSLError, OSError) as error:
            raise _unusable(settings.certificate, error) from None
    if settings.ca is not None:
        try:
            context.load_verify_locations(settings.ca)
        except (ssl.SSLError, OSError) as error:
            raise _unusable(settings.ca, error) from None


def _unusable(path: Path, error: OSError) -> OptionsError:
    reason = brief(getattr(error, "reason", None) or error.strerror or error)
    return OptionsError(
        f"{printable(str(path))}: no certificate in PEM that can be used ({reason}); expected one "
        "with its own key"
    )
