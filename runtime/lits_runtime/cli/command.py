"""What all commands share: options, help, logging, and errors in one line with an exit status."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from lits_runtime.errors import LitsError, OutputBusyError, OutputError
from lits_runtime.messages import printable
from lits_runtime.system.extras import explain_import
from lits_runtime.system.process import skip_last_collection
from lits_runtime.system.signals import ending_in_order

TRACEBACKS = 1
"""Level below DEBUG, at which a batch logs the tracebacks of scans that failed."""


class Command(click.Command):
    """A click command that ends an expected error in one line on stderr and exit status 1.

    Expected are `LitsError`, an `OSError` (disk full, no permission) and a module that is not
    installed or does not load. An `OutputError` is a usage error, exit status 2. Any other error is
    a bug; it is one line as well, which says so. With `--debug` the traceback is shown.
    Ctrl-C ends with exit status 130, SIGTERM with 143.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of `section`; those without one come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        for option in sorted(options, key=lambda option: not isinstance(option, _SectionOption)):
            if (line := option.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(option, "section", "Options"), []).append(line)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the class for what happens to its errors."""
        skip_last_collection()
        debug = bool(ctx.params.pop("debug", False))
        _set_up_logging(ctx.params.pop("quiet", False), ctx.params.pop("verbose", 0))
        try:
            with ending_in_order():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OutputError) and not isinstance(error, OutputBusyError):
                raise click.UsageError(str(error), ctx) from error  # wrong names were given
            if debug:
                raise
            message = self._explained(error, ctx)
        click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
        ctx.exit(1)

    def _explained(self, error: Exception, ctx: click.Context) -> str:
        if isinstance(error, LitsError):
            return str(error)
        package = str(getattr(self.callback, "__module__", "")).partition(".")[0]
        if reason := explain_import(error, ctx.command_path, package):
            return reason
        if isinstance(error, OSError):
            return str(error)
        if isinstance(error, MemoryError):
            return f"out of memory: {error}" if str(error) else "out of memory"
        return (
            f"{type(error).__name__}: {error} (a bug in lits-toolkit: please report it with the "
            "output of --debug)"
        )


class _SectionOption(click.Option):
    """An option under a heading of its own."""

    def __init__(self, *declarations: Any, section: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


def section(title: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """A `click.option` whose options stand under a heading in the help of a `Command`."""
    return partial(click.option, cls=_SectionOption, section=title)


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -q, -v, --debug and --version; `Command` takes them before the function is called."""
    for option in (
        click.version_option(package_name="lits-toolkit"),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("-v", "--verbose", count=True, help="Log more; twice: tracebacks too."),
        click.option("-q", "--quiet", is_flag=True, help="Log errors only."),
    ):
        function = option(function)
    return function


def _set_up_logging(quiet: bool, verbose: int) -> None:
    level = logging.ERROR if quiet else (logging.INFO, logging.DEBUG, TRACEBACKS)[min(verbose, 2)]
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    for package in ("lits_runtime", "lits_train", "lits_export", "lits_tools"):
        logging.getLogger(package).setLevel(level)
