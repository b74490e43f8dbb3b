"""lits-doctor: what this machine can run, and what to install."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE


@click.command(cls=Command)
@click.option(
    "-m",
    "--model",
    type=EXISTING_FILE,
    help="Model to try on each provider.  [default: the bundled one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@shared_options
def main(model: Path | None, as_json: bool) -> None:
    """Show versions, libraries, processors, and which providers really run a model.

    Each provider is tried: it opens a session and runs a slab. Exit status 1 if none succeeds.
    """
    from lits_runtime.session.doctor import examine

    diagnosis = examine(model)
    if as_json:
        click.echo(json.dumps(diagnosis.to_json(), indent=1))
    else:
        sections: dict[str, Mapping[str, object]] = {
            "Versions": diagnosis.versions,
            "Processors": diagnosis.processors,
            "GPU": {"name": diagnosis.gpu or "none"},
            "Libraries": diagnosis.libraries,
            "Providers": {
                check.name: f"{'runs' if check.runs else 'no'}: {check.detail}"
                for check in diagnosis.providers
            },
        }
        for title, entries in sections.items():
            click.echo(title)
            for name, value in entries.items():
                click.echo(f"  {name:24} {'none' if value is None else value}")
        for line in diagnosis.advice:
            click.echo(line)
    if not any(check.runs for check in diagnosis.providers):
        click.get_current_context().exit(1)
