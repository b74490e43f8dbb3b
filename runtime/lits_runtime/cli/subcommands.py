"""A command that has subcommands, and works without naming one."""

from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.command import Command


class CommandWithSubcommands(Command, click.Group):
    """A command with arguments of its own, and subcommands that its first argument may name.

    A file or folder of a subcommand's name is given with its own folder: ./NAME.
    """

    allow_extra_args = False
    allow_interspersed_args = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(invoke_without_command=True, subcommand_metavar="", **settings)
        self.command_class = Command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the subcommand that is named first, or else of the command itself."""
        command = self.commands.get(args[0]) if args else None
        if command is None:
            return super().make_context(info_name, args, parent, **extra)
        name = f"{info_name} {args[0]}"
        if args[1:] or not Path(args[0]).exists():
            return command.make_context(name, args[1:], parent, **extra)
        raise click.UsageError(
            f"{name} needs arguments; for what is named {args[0]} in this folder, give ./{args[0]}"
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the subcommands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context is of."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)
