"""Where results go: AE titles with their addresses, and DICOMweb services."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from lits_runtime.errors import OptionsError
from lits_runtime.messages import printable


@dataclass(frozen=True)
class DicomPeer:
    """A peer that takes C-STORE."""

    ae_title: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """As it is given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True)
class WebPeer:
    """A peer that takes STOW-RS."""

    url: str
    """Of the service, without /studies."""

    @property
    def name(self) -> str:
        """As it is given."""
        return self.url


Peer = DicomPeer | WebPeer


def parse_peer(text: str) -> Peer:
    """A peer as AE@HOST:PORT, or as a URL.

    >>> parse_peer("PACS@[::1]:104").port, parse_peer("https://pacs/dicom-web/").name
    (104, 'https://pacs/dicom-web')

    Raises:
        OptionsError: it is neither.
    """
    if text.startswith(("http://", "https://")):
        return _web_peer(text)
    title, _, address = text.rpartition("@")
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (title and host and re.fullmatch(r"\d{1,5}", port) and 0 < int(port) < 65_536):
        raise OptionsError(
            f"peer {printable(text)!r}: expected AE@HOST:PORT, as PACS@10.0.0.5:104, or the URL of "
            "a DICOMweb service"
        )
    return DicomPeer(checked_ae_title(title), host, int(port))


def _web_peer(text: str) -> WebPeer:
    try:
        url = urlsplit(text)
        fine = bool(url.hostname) and not url.query and not url.fragment and text.isprintable()
        secret = url.username is not None or url.password is not None
    except ValueError:
        fine, secret = False, False
    if secret:
        raise OptionsError(
            "a peer with a name or password in its URL, which all users of this computer can see: "
            "give --peer-authorization FILE"
        )
    if not fine:
        raise OptionsError(
            f"peer {printable(text)!r}: expected a URL as https://pacs.example/dicom-web"
        )
    return WebPeer(text.rstrip("/"))


def checked_ae_title(text: str) -> str:
    """An AE title without blanks around it.

    Raises:
        OptionsError: it is none.
    """
    title = text.strip()
    if not (
        1 <= len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title
    ):
        raise OptionsError(
            f"AE title {printable(text)!r}: expected 1 to 16 characters of ASCII without backslash"
        )
    return title
