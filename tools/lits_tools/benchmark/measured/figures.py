"""Measured figures, the files they go to, and the options that all benchmarks share."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.options.arguments import NEW_FILE, NEW_FOLDER, PROVIDERS


@dataclass(frozen=True)
class Figure:
    """A measured figure and its target."""

    name: str
    value: float
    unit: str = ""
    bound: str = ""
    """For example "at most 1.2"; empty if there is no target."""


def line(figure: Figure) -> str:
    """The figure as a row of a table."""
    return f"{figure.name:52} {figure.value:9.3f} {figure.unit:3} {figure.bound}".rstrip()


def machine() -> dict[str, Any]:
    """The machine and the versions that figures were measured with."""
    from lits_runtime.system.processors import usable_processors
    from lits_runtime.system.versions import version, versions

    return {
        "machine": platform.machine(),
        "processors": usable_processors(),
        "python": platform.python_version(),
        "versions": versions() | {"torch": version("torch") or "none"},
    }


def output_options(folder: str, file: str, holds: str) -> Callable[..., Any]:
    """The options --folder, -o/--output and -f/--force.

    Args:
        folder: the default folder.
        file: name of the default output within it.
        holds: what the benchmark puts in the folder.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        output = click.option(
            "-o",
            "--output",
            type=NEW_FILE,
            help=f"Write the figures to this JSON file.  [default: FOLDER/{file}]",
        )
        where = click.option(
            "--folder",
            type=NEW_FOLDER,
            default=Path(folder),
            show_default=True,
            help=f"Working folder for {holds}.",
        )
        force = click.option("-f", "--force", is_flag=True, help="Overwrite OUTPUT.")
        return where(output(force(function)))

    return decorate


provider_option = click.option(
    "--provider", type=click.Choice(PROVIDERS), default="cpu", show_default=True
)


def check_output(output: Path | None, force: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse, before anything is measured, to replace an existing file without `force`.

    Raises:
        OutputError: the file exists and is not to be replaced, or is one of the inputs.
    """
    from lits_runtime.files.output_rule import Inputs, check_targets

    check_targets([output] if output else [], Inputs("an input", inputs), force=force)


def write_json(path: Path, **content: Any) -> None:
    """Write figures, with the machine that they were measured on, as JSON."""
    from lits_runtime.files.atomic import atomic_path

    with atomic_path(path) as temporary:
        text = json.dumps({"on": machine(), **content}, indent=1, default=asdict)
        temporary.write_text(text + "\n", encoding="utf-8")
