"""The runtime's front door: open a model once, segment scans with it."""

import importlib
import importlib.resources
import threading
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.metadata import ModelMetadata
from lits_runtime.model_file import check, read_content
from lits_runtime.options import Options
from lits_runtime.processors import usable_processors
from lits_runtime.providers import open_session, session_provider

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lits_runtime.outputs import Outputs
    from lits_runtime.report import Report
    from lits_runtime.segmentation import Segmentation
    from lits_runtime.task import Cancel, Progress, Task
    from lits_runtime.volume import ScanSource

BUNDLED_MODEL = "bundled.onnx"
MAX_LANES = 8
"""Slabs that run at once on the CPU; each costs memory for its activations."""


class Segmenter:
    """A model opened on a provider; `segment` may be called from several threads at once.

    On the CPU several slabs run side by side with one thread each, which is up to twice as fast as
    one slab with all threads: layers of this size are too small to be shared out.
    """

    def __init__(
        self, session: Any, metadata: ModelMetadata, model_sha256: str, lanes: int = 1
    ) -> None:
        self.session = session
        self.metadata = metadata
        self.model_sha256 = model_sha256
        self.provider = session_provider(session)
        self.lanes = lanes
        self._pool: ThreadPoolExecutor | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(
        cls,
        model: str | PathLike[str] | bytes | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
        device_id: int = 0,
        sha256: str | None = None,
    ) -> "Segmenter":
        """Open a model file, once it has been looked into (see `model_file.check`).

        Args:
            model: path or content of a model written by lits-export; None: the bundled one.
            provider: "auto", "cpu", "cuda" or "tensorrt"; what is asked for loads, or it is an
                error.
            threads: for the CPU; None takes all that this process may use.
            device_id: which GPU.
            sha256: of the only content to accept, in hexadecimal.

        Raises:
            ModelError: not a model of this project, damaged, hostile, of a newer format, or of
                another SHA-256.
            ProviderError: the provider did not load; the message names what is missing.
            FileNotFoundError: there is no such file.
        """
        threads = threads or usable_processors()
        lanes = min(threads, MAX_LANES)
        with ThreadPoolExecutor(1) as importer:
            # While the file is read and hashed, and then while ONNX Runtime prepares the session:
            # neither holds the interpreter's lock. Hence no module above imports numpy either.
            importer.submit(importlib.import_module, "onnxruntime")
            content = model if isinstance(model, bytes) else read_content(_model_path(model))
            checked = check(content, sha256)
            importer.submit(importlib.import_module, "lits_runtime.task")
            session = open_session(content, provider, threads // lanes, device_id)
        if session_provider(session) != "cpu":
            lanes = 1  # a GPU takes one slab after the other
        return cls(session, checked.metadata, checked.sha256, lanes)

    def segment(
        self,
        scan: "ScanSource",
        options: Options | None = None,
        *,
        with_probability: bool = False,
        batch_size: int | None = None,
        progress: "Progress | None" = None,
        cancel: "Cancel | None" = None,
    ) -> "Segmentation":
        """Segment one scan and hold its labels in memory.

        Args:
            scan: a path, a binary file object, a nibabel image, (array (i, j, k) of HU, affine
                (4, 4)), or a `Scan` that was opened under other limits.
            options: what decides the labels; the model's own by default.
            with_probability: hold the probabilities too.
            batch_size: axial slices that go through the network at once.
            progress: called with (slices done, slices in all), in the caller's thread.
            cancel: asked after each slab whether to give up.

        Raises:
            VolumeError: not a readable 3D CT volume.
            CancelledError: `cancel` said so.
            ValueError: the options do not fit the model.
        """
        from lits_runtime.outputs import Outputs
        from lits_runtime.segmentation import Segmentation

        outputs = Outputs(in_memory=True, with_probability=with_probability)
        with self.task(scan, options, outputs, batch_size) as task:
            report = task.run(progress, cancel)
            assert task.sink is not None and task.sink.labels is not None  # asked for above
            return Segmentation(
                task.sink.labels,
                task.scan.geometry,
                report,
                task.scan.image,
                task.sink.probability if with_probability else None,
            )

    def segment_file(
        self,
        scan: "ScanSource",
        mask: str | PathLike[str],
        options: Options | None = None,
        *,
        mask_kind: str = "labels",
        probability: str | PathLike[str] | None = None,
        batch_size: int | None = None,
        progress: "Progress | None" = None,
        cancel: "Cancel | None" = None,
    ) -> "Report":
        """Segment a scan and write its mask, whole or not at all; memory does not grow with it.

        Args:
            scan: as for `segment`; only files stream.
            mask: .nii or .nii.gz to write.
            options: what decides the labels; the model's own by default.
            mask_kind: "labels", or "liver" or "lesion" for a mask of 0 and 1.
            probability: .nii or .nii.gz to write, uint8 with slope 1/255, the class put into the
                name: "p.nii.gz" gives "p_lesion.nii.gz".
            batch_size: axial slices that go through the network at once.
            progress: called with (slices done, slices in all), in the caller's thread.
            cancel: asked after each slab whether to give up.

        Raises:
            VolumeError: not a readable 3D CT volume.
            CancelledError: `cancel` said so.
            ValueError: the options do not fit the model, or a name ends otherwise.
        """
        from lits_runtime.outputs import Outputs

        outputs = Outputs(
            mask=Path(mask),
            mask_kind=mask_kind,
            probability=Path(probability) if probability is not None else None,
        )
        with self.task(scan, options, outputs, batch_size) as task:
            return task.run(progress, cancel)

    def task(
        self,
        scan: "ScanSource",
        options: Options | None,
        outputs: "Outputs",
        batch_size: int | None = None,
    ) -> "Task":
        """A scan that is opened, and read ahead if it streams, but not yet segmented."""
        from lits_runtime.task import Task

        return Task(self, scan, options or Options(), outputs, batch_size)

    def probability(self, slab_hu: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Probabilities, float32 (n, classes, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: float32 (n + 2 * context_slices, height, width).
        """
        from lits_runtime.inference import run

        probability: NDArray[np.float32] = run(self.session, ["probability"], slab_hu)[0]
        return probability

    def labels(self, slab_hu: "NDArray[np.float32]") -> "NDArray[np.uint8]":
        """Labels, uint8 (n, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: float32 (n + 2 * context_slices, height, width).
        """
        from lits_runtime.inference import run

        labels: NDArray[np.uint8] = run(self.session, ["labels"], slab_hu)[0]
        return labels

    def pool(self) -> ThreadPoolExecutor:
        """The threads in which slabs run; shared by all calls, so that they share the machine."""
        with self._opening:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="slab")
            return self._pool


def bundled_model() -> Path:
    """The model that comes with the package."""
    return Path(str(importlib.resources.files("lits_runtime").joinpath(BUNDLED_MODEL)))


def _model_path(model: str | PathLike[str] | None) -> Path:
    return bundled_model() if model is None else Path(fspath(model))
