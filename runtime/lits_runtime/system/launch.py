"""How a command starts: a signal ends it in one line, from its first moment on.

It imports nothing that the interpreter has not loaded already: until its handlers are set, Ctrl-C
is a traceback.
"""

import _signal  # type: ignore[import-not-found]  # signal without its enums, which take longer
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

ENDING: tuple[int, ...] = (_signal.SIGINT, _signal.SIGTERM)


def launch(module: str, command: str) -> None:
    """Import the module of a command and run its `main`.

    Until the command begins, a signal finds nothing to put in order, and imports to interrupt,
    which would print what they ignore, or call the interrupt a failed import: the process leaves.
    """
    for number in ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:  # as nohup, and a shell's &, have it
            _signal.signal(number, leave_at_once)
    import importlib

    try:
        main = importlib.import_module(module).main
    except Exception as error:  # whatever a package that does not load raises
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
    except OSError:  # nobody listens
        pass
    finally:
        os._exit(128 + number)
