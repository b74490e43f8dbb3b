"""Options of lits-serve for its DICOM node."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.command import section
from lits_runtime.cli.options.amounts import TIME
from lits_runtime.cli.options.arguments import EXISTING_FILE

if TYPE_CHECKING:
    from lits_runtime.server.settings import NodeSettings

_option = section("DICOM node")
_OPTIONS = (
    _option(
        "--dicom-port",
        type=click.IntRange(0, 65_535),
        help="Listen for DICOM on this port, as 11112; 0: any free one, which is logged.",
    ),
    _option("--dicom-host", help="Address to listen on for DICOM.  [default: that of --host]"),
    _option(
        "--ae-title", default="LITS", show_default=True, help="Our own; senders must call it so."
    ),
    _option(
        "--peer",
        "peers",
        multiple=True,
        metavar="AE@HOST:PORT|URL",
        help="Where SEG and SR go, by C-STORE or to a DICOMweb service; may be repeated.",
    ),
    _option(
        "--calling-ae",
        "calling_aes",
        multiple=True,
        metavar="AE",
        help="AE title that may send, beside those of the peers; may be repeated.",
    ),
    _option("--any-calling-ae", is_flag=True, help="Let anyone send who reaches the port."),
    _option(
        "--peer-authorization",
        type=EXISTING_FILE,
        metavar="FILE",
        help='File with the header Authorization for DICOMweb peers, as "Basic ..." in one line.',
    ),
    _option(
        "--rules",
        type=EXISTING_FILE,
        metavar="FILE",
        help="TOML that says which series are segmented.  [default: CT of 10 images or more]",
    ),
    _option(
        "--complete-after",
        type=TIME,
        default="60s",
        show_default=True,
        help="A series is complete so long after its last image.",
    ),
    _option(
        "--aborted-after",
        type=TIME,
        default="10m",
        show_default=True,
        help="The same if its sender broke off, and does not send it again.",
    ),
    _option(
        "--give-up",
        type=TIME,
        default="1d",
        show_default=True,
        help="Try so long to deliver a result; then keep it until it is asked for.",
    ),
    _option(
        "--max-associations",
        type=click.IntRange(1, 500),
        default=20,
        show_default=True,
        help="That senders may have at once.",
    ),
    _option(
        "--dicom-certificate",
        type=EXISTING_FILE,
        help="In PEM, with its chain; all DICOM then goes over TLS, in both directions.",
    ),
    _option("--dicom-key", type=EXISTING_FILE, help="Of the certificate, in PEM."),
    _option(
        "--dicom-ca",
        type=EXISTING_FILE,
        help="In PEM: senders and peers must have certificates of it.",
    ),
)


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options under the heading "DICOM node"."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def node_settings(options: dict[str, Any], host: str) -> "NodeSettings | None":
    """Take the options of the node out of all; None without --dicom-port.

    Raises:
        UsageError: options that need each other, or contradict each other.
        OptionsError: a malformed AE title, or file with a header.
    """
    from lits_runtime.server.settings import NodeSettings

    port, dicom_host = options.pop("dicom_port"), options.pop("dicom_host")
    any_ae, calling = options.pop("any_calling_ae"), options.pop("calling_aes")
    title, peers = options.pop("ae_title"), options.pop("peers")
    authorization, rules = options.pop("peer_authorization"), options.pop("rules")
    times = {f"{name}_s": options.pop(name) for name in _TIMES}
    most = options.pop("max_associations")
    files = {name: options.pop(f"dicom_{name}") for name in ("certificate", "key", "ca")}
    if port is None:
        if peers or calling or any_ae or rules or any(files.values()):
            raise click.UsageError("options of the DICOM node need --dicom-port")
        return None
    from lits_runtime.server.dicom_node.sending.peers import checked_ae_title

    if (files["certificate"] is None) != (files["key"] is None):
        raise click.UsageError("--dicom-certificate and --dicom-key belong together: give both")
    if any_ae and calling:
        raise click.UsageError("--calling-ae and --any-calling-ae contradict each other: drop one")
    return NodeSettings(
        port=port,
        host=dicom_host or host,
        ae_title=checked_ae_title(title),
        calling_aes=None if any_ae else tuple(checked_ae_title(one) for one in calling),
        peers=tuple(dict.fromkeys(peers)),
        peer_authorization=None if authorization is None else _header(authorization),
        rules=rules,
        max_associations=most,
        **times,
        **files,
    )


_TIMES = ("complete_after", "aborted_after", "give_up")


def _header(path: Path) -> str:
    from lits_runtime.errors import OptionsError

    lines = path.read_text("utf-8", "replace").splitlines()
    header = lines[0].strip() if lines else ""
    if not header or not header.isascii() or not header.isprintable():
        raise OptionsError(
            "the first line of --peer-authorization is empty or not of visible ASCII; expected the "
            'value of the header Authorization, as "Bearer TOKEN"'
        )
    return header
