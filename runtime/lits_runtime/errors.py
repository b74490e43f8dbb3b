"""The errors that this project raises on purpose.

    LitsError
    ├── VolumeError(ValueError)          not a readable 3D CT volume
    ├── ModelError(ValueError)           not a lits-toolkit model, or a newer or damaged one
    ├── ProviderError(RuntimeError)      the execution provider asked for did not load
    ├── OptionsError(ValueError)         a value that an option cannot take, or the model not serve
    ├── ArgumentError(TypeError)         an argument of a type that is not taken
    ├── ClosedError(RuntimeError)        used after it was closed, or carried on across a fork
    ├── OutOfMemoryError(MemoryError)    memory ran out for one scan
    ├── CheckpointError(ValueError)      unreadable or unsafe checkpoint, or another architecture's
    ├── ParityError(RuntimeError)        the exported model does not say what the network says
    ├── DatasetError(ValueError)         scans and masks that do not make a data set
    ├── OutputError(FileExistsError,     a file that is not ours to write over: a scan, the model,
    │       ValueError)                  or what no record explains
    │   └── OutputBusyError              another process is writing the same output
    ├── TrainingError(RuntimeError)      training cannot go on: loss not finite, a process lost
    └── CancelledError(RuntimeError)     the caller asked for a scan to be given up

Each class is also the builtin that a caller would expect, so that `except ValueError` works
without an import from here. Every message says what was found and what would work. Beside these a
caller meets only the system's own OSError (no such file, no permission, disk full), and whatever
the caller's own callbacks and file objects raise.
"""


class LitsError(Exception):
    """Base of every error that this project raises on purpose."""


class VolumeError(LitsError, ValueError):
    """A file or array is not a readable 3D CT volume."""


class ModelError(LitsError, ValueError):
    """A file is not a lits-toolkit model, or is damaged, or of a newer format."""


class ProviderError(LitsError, RuntimeError):
    """The execution provider asked for did not load."""


class OptionsError(LitsError, ValueError):
    """An option has a value that it cannot take, or that the model cannot serve."""


class ArgumentError(LitsError, TypeError):
    """An argument is of a type that is not taken."""


class ClosedError(LitsError, RuntimeError):
    """A segmenter was used after `close`, or work begun before a fork was carried on after it."""


class OutOfMemoryError(LitsError, MemoryError):
    """Memory ran out for one scan; others may still fit."""


class CheckpointError(LitsError, ValueError):
    """A checkpoint is unreadable, unsafe to read, or of another architecture."""


class ParityError(LitsError, RuntimeError):
    """An exported model does not say what the trained network says."""


class DatasetError(LitsError, ValueError):
    """Scans and masks do not make a usable data set."""


class OutputError(LitsError, FileExistsError, ValueError):
    """An output would write over what is not ours: a scan, the model, a file no record explains."""


class OutputBusyError(OutputError):
    """Another process is writing the same output."""


class TrainingError(LitsError, RuntimeError):
    """Training cannot go on: the loss is not finite, or another process of the run failed."""


class CancelledError(LitsError, RuntimeError):
    """The caller asked for a scan to be given up; nothing was written."""
