"""The start of a command, from whose first moment on a signal ends it with one line.

Nothing is imported here that the interpreter has not already loaded: until the handlers are set,
Ctrl-C shows a traceback.
"""

import _signal  # type: ignore[import-not-found]  # signal without its enums, which are slow to make
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

ENDING: tuple[int, ...] = (_signal.SIGINT, _signal.SIGTERM)


def launch(module: str, command: str) -> None:
    """Import the module of a command and run its `main`.

    A signal during the imports ends the process at once: there is nothing to clean up yet, and an
    exception could be printed and ignored, or be taken for a failed import.
    """
    for number in ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:  # as under nohup, and for a shell's &
            _signal.signal(number, leave_at_once)
    import importlib

    try:
        main = importlib.import_module(module).main
    except Exception as error:  # a broken package may raise anything
        from lits_runtime.system.extras import explain_import

        reason = explain_import(error, command, module.partition(".")[0])
        if reason is None:
            raise
        sys.exit(f"error: {reason}")
    sys.exit(main())


def leave_at_once(number: int, frame: "FrameType | None") -> None:
    """A handler that ends the process with 128 + `number`."""
    try:
        os.write(2, b"interrupted\n" if number == _signal.SIGINT else b"terminated\n")
    except OSError:  # stderr is closed
        pass
    finally:
        os._exit(128 + number)
