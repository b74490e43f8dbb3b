"""Commands whose help lists options under headings, and groups in order of use."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from lits_runtime.cli.command import Command


class GroupedCommand(Command):
    """A command whose help lists its options in sections, and all others under "Options"."""

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any
    ) -> None:
        """Take the names of parameters by heading, in the order of the help."""
        super().__init__(*args, **kwargs)
        self.sections = sections or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        records = {
            str(parameter.name): record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            and (record := parameter.get_help_record(ctx)) is not None
        }
        sections = {
            heading: [records.pop(name) for name in names]
            for heading, names in self.sections.items()
        }
        for heading, rows in {**sections, "Options": [*records.values()]}.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)
