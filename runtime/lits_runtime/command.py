"""What all commands share: options, logging, and errors as one line with an exit status."""

import atexit
import gc
import logging
from collections.abc import Callable
from typing import Any

import click

from lits_runtime.errors import LitsError
from lits_runtime.names import printable

_EXTRA_OF_MODULE = {
    "onnxruntime": "cpu' or 'lits-toolkit[cuda",
    "torch": "train",
    "torchvision": "train",
    "tensorboard": "train",
    "safetensors": "train",
    "kagglehub": "download",
    "rich": "train' or 'lits-toolkit[tools",
    "onnx": "export",
    "onnxscript": "export",
    "matplotlib": "tools",
}


class Command(click.Command):
    """A click command that ends an expected error in one line on stderr and exit status 1.

    Expected are `LitsError`, an `OSError` (disk full, no permission) and a module of an extra that
    is not installed. With `--debug` the traceback is shown. Ctrl-C ends with exit status 130.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the class for what happens to its errors."""
        atexit.register(gc.freeze)  # nothing is worth collecting then: a tenth of a short run
        debug = bool(ctx.params.pop("debug", False))
        _set_up_logging(ctx.params.pop("quiet", False), ctx.params.pop("verbose", 0))
        try:
            return super().invoke(ctx)
        except (LitsError, OSError) as error:
            if debug:
                raise
            message = str(error)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if debug or package not in _EXTRA_OF_MODULE:
                raise
            extra = f"pip install 'lits-toolkit[{_EXTRA_OF_MODULE[package]}]'"
            message = f"{ctx.info_name} needs {package}, which is not installed: {extra}"
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
        click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
        ctx.exit(1)


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -q, -v, --debug and --version; `Command` takes them before the function is called."""
    for option in (
        click.version_option(package_name="lits-toolkit"),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("-v", "--verbose", count=True, help="Say more; twice for debugging."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    ):
        function = option(function)
    return function


def _set_up_logging(quiet: bool, verbose: int) -> None:
    level = logging.ERROR if quiet else (logging.INFO, logging.DEBUG)[min(verbose, 1)]
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    for package in ("lits_runtime", "lits_train", "lits_export", "lits_tools"):
        logging.getLogger(package).setLevel(level)
