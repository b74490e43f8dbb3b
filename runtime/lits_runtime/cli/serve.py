"""lits-serve: segment scans that come in over HTTP."""

import os
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.command import Command, section, shared_options
from lits_runtime.cli.options.amounts import SIZE, TIME
from lits_runtime.cli.options.arguments import EXISTING_FILE, NEW_FOLDER, PROVIDERS
from lits_runtime.cli.options.node_options import node_options, node_settings

TOKEN_VARIABLE = "LITS_SERVE_TOKEN"
_address, _access, _queue, _model = map(section, ("Address", "Access", "Queue", "Model"))


@click.command(cls=Command)
@_address("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@_address(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="0: any free one, which is logged.",
)
@_address("--certificate", type=EXISTING_FILE, help="Of TLS, in PEM, with its chain.")
@_address("--key", type=EXISTING_FILE, help="Of the certificate, in PEM.")
@_access(
    "--token-file",
    type=EXISTING_FILE,
    help="File with the token that requests must carry; LITS_SERVE_TOKEN does the same.",
)
@_access(
    "--no-token",
    is_flag=True,
    help="Serve other computers without a token, as behind a proxy that checks who asks.",
)
@_access(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Name under which a proxy or user addresses the server; may be repeated.",
)
@_queue(
    "--state",
    type=NEW_FOLDER,
    help="Folder of the queue and its files.  [default: ~/.local/state/lits-serve]",
)
@_queue("--keep", type=TIME, default="3d", show_default=True, help="Keep finished jobs so long.")
@_queue("--max-upload", type=SIZE, default="2G", show_default=True, help="Largest scan.")
@_queue(
    "--max-jobs",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Jobs that may wait and run at once; more are told to come back.",
)
@_queue(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Attempts at a job in which the worker process dies.",
)
@_queue("--job-limit", type=TIME, default="1h", show_default=True, help="Longest time for a job.")
@_queue(
    "--grace",
    type=TIME,
    default="30s",
    show_default=True,
    help="When the server ends, time for the job in hand; then it goes back to the queue.",
)
@_model(
    "-m",
    "--model",
    type=EXISTING_FILE,
    help="Model written by lits-export.  [default: the bundled one]",
)
@_model("--model-sha256", metavar="HEX", help="Refuse a model with another SHA-256.")
@_model(
    "--provider",
    type=click.Choice(["auto", *PROVIDERS]),
    default="auto",
    show_default=True,
    help="What to run on; if it cannot, that is an error.",
)
@_model(
    "--device-id",
    "device_ids",
    type=click.IntRange(0),
    multiple=True,
    default=(0,),
    help="Which GPU; repeated, a worker process on each.  [default: 0]",
)
@_model("--threads", type=click.IntRange(1), help="Threads on the CPU.  [default: all usable]")
@node_options
@click.option(
    "--write-static",
    type=NEW_FOLDER,
    metavar="DIR",
    help="Write the page that segments in the browser alone, with the model, and end.",
)
@shared_options
def main(
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
    no_token: bool,
    allowed_hosts: tuple[str, ...],
    state: Path | None,
    keep: float,
    max_upload: float,
    job_limit: float,
    grace: float,
    write_static: Path | None,
    **settings: Any,
) -> None:
    """Serve a queue of scans over HTTP and DICOM, and a page to use it in a browser.

    A job that was accepted is on disk, and is done whatever happens: the queue survives the death
    of its workers and of the server. SIGTERM and Ctrl-C end the server in order, exit status 0.
    Other computers are served only with a token, unless --no-token says otherwise.

    With --dicom-port the server is a node of DICOM, too: it takes series of CT by C-STORE, and
    sends SEG and SR to the peers.
    """
    if write_static is not None:
        _write_static(write_static, settings["model"], settings["model_sha256"])
        return
    from lits_runtime.cli.progress import stopping_on_signals
    from lits_runtime.server.serving import check_token, read_token, serve
    from lits_runtime.server.settings import Listening, Settings

    token = os.environ.pop(TOKEN_VARIABLE, None)
    if token is not None:
        check_token(token)
    if token_file is not None:
        token = read_token(token_file)
    node = node_settings(settings, host)
    listening = Listening(host, port, token, allowed_hosts, certificate, key)
    _check(listening, no_token)
    served = Settings(
        state=state if state is not None else _state_folder(),
        max_upload_bytes=int(max_upload),
        keep_s=keep,
        job_limit_s=job_limit,
        grace_s=grace,
        **settings,
    )
    with stopping_on_signals():  # uvicorn handles signals, and then sends itself the same again
        serve(served, listening, node)


def _write_static(folder: Path, model: Path | None, model_sha256: str | None) -> None:
    from lits_runtime.server import static_site

    size = static_site.write_static(folder, model, model_sha256)
    click.echo(f"{folder}: {size / 2**20:.0f} MB for any static host, over HTTPS", err=True)


def _check(listening: Any, no_token: bool) -> None:
    if (listening.certificate is None) != (listening.key is None):
        raise click.UsageError("--certificate and --key belong together: give both")
    if no_token and listening.token is not None:
        raise click.UsageError("a token and --no-token contradict each other: drop one")
    if not (listening.loopback or listening.token or no_token):
        raise click.UsageError(
            f"--host {listening.host} can be reached from other computers: give --token-file, or "
            "--no-token where something else checks who asks"
        )


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "lits-serve"
