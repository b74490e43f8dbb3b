"""The errors that this project raises on purpose.

    LitsError
    ├── VolumeError(ValueError)          not a readable 3D CT volume
    ├── ModelError(ValueError)           not a lits-toolkit model, or damaged, or of a newer format
    ├── ProviderError(RuntimeError)      the requested execution provider did not load
    ├── OptionsError(ValueError)         a value that an option does not allow, or the model lacks
    ├── ArgumentError(TypeError)         an argument of the wrong type
    ├── ClosedError(RuntimeError)        used after it was closed, or continued after a fork
    ├── OutOfMemoryError(MemoryError)    memory ran out for one scan
    ├── CheckpointError(ValueError)      checkpoint unreadable, unsafe, or of another architecture
    ├── ParityError(RuntimeError)        the exported model's output differs from the network's
    ├── DatasetError(ValueError)         scans and masks that do not make a data set
    ├── OutputError(FileExistsError,     would overwrite a scan, the model, or a file that we did
    │       ValueError)                  not write
    │   └── OutputBusyError              another process is writing the same output
    ├── StoreError(OSError)              an object store or web server refuses, or does not answer
    ├── EngineError(RuntimeError)        the engine of a batch, such as a cluster, is not there
    ├── QuarantineError(RuntimeError)    a scan that ended its worker twice is left alone
    ├── TrainingError(RuntimeError)      training cannot continue: loss not finite, a process lost
    └── CancelledError(RuntimeError)     the caller cancelled a scan

Each class is also the builtin that a caller would expect, so that `except ValueError` works without
an import from here. The tree is that of all four packages, so that one `except LitsError` catches
what any of them raises; the runtime itself raises none of `CheckpointError`, `ParityError`,
`DatasetError` and `TrainingError`. Every message says what was found and what would work. Apart
from these only the system's own OSError (no such file, no permission, disk full) is raised, and
whatever the caller's own callbacks and file objects raise.
"""


class LitsError(Exception):
    """Base of every error that this project raises on purpose."""


class VolumeError(LitsError, ValueError):
    """A file or array is not a readable 3D CT volume."""


class ModelError(LitsError, ValueError):
    """A file is not a lits-toolkit model, or is damaged, or has a newer format."""


class ProviderError(LitsError, RuntimeError):
    """The requested execution provider did not load."""


class OptionsError(LitsError, ValueError):
    """An option has a value that it does not allow, or that needs what the model lacks."""


class ArgumentError(LitsError, TypeError):
    """An argument has the wrong type."""


class ClosedError(LitsError, RuntimeError):
    """A segmenter was used after `close`, or a segmentation was continued after a fork."""


class OutOfMemoryError(LitsError, MemoryError):
    """Memory ran out for one scan; others may still fit."""


class CheckpointError(LitsError, ValueError):
    """A checkpoint is unreadable, unsafe to read, or of another architecture."""


class ParityError(LitsError, RuntimeError):
    """An exported model's output differs from the trained network's."""


class DatasetError(LitsError, ValueError):
    """Scans and masks do not make a usable data set."""


class OutputError(LitsError, FileExistsError, ValueError):
    """An output would overwrite a scan, the model, or a file that no record accounts for."""


class OutputBusyError(OutputError):
    """Another process is writing the same output."""


class StoreError(LitsError, OSError):
    """An object store or web server refused, or did not answer."""


class EngineError(LitsError, RuntimeError):
    """What runs the jobs of a batch, such as a cluster, is not there."""


class QuarantineError(LitsError, RuntimeError):
    """A scan ended the process that had it twice, and is left alone."""


class TrainingError(LitsError, RuntimeError):
    """Training cannot continue: the loss is not finite, or another process of the run failed."""


class CancelledError(LitsError, RuntimeError):
    """The caller cancelled a scan; nothing was written."""
