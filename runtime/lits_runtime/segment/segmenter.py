"""The runtime's front door: open a model once, segment scans with it."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.arguments import described, file_path, flag
from lits_runtime.errors import ArgumentError, ClosedError
from lits_runtime.model.checked_file import check
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.segment.options import Options
from lits_runtime.session.engine import Engine
from lits_runtime.session.opening import Opening, checked_opening, reopener
from lits_runtime.session.providers import open_session, session_provider
from lits_runtime.system.processors import usable_processors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from lits_runtime.measure.report import Report
    from lits_runtime.segment.one_scan import Cancel, Progress, Task
    from lits_runtime.segment.outputs import Outputs
    from lits_runtime.segment.segmentation import Segmentation
    from lits_runtime.volumes.scan import ScanSource

MAX_LANES = 8
"""Slabs that run at once on the CPU; each costs memory for its activations."""


class Segmenter:
    """A model opened on a provider; `segment` may be called from several threads at once.

    On the CPU several slabs run side by side with one thread each, which is up to twice as fast as
    one slab with all threads: layers of this size are too small to be shared out.

    A segmenter is a context manager, and `close` ends its threads. A process that is forked from
    one that has used it may go on using it, and gets a session and threads of its own; on a GPU
    that is a `ProviderError`. Pickled or copied it is the path of its model (or its bytes, if it
    was opened from bytes), the SHA-256 of it and the settings, and is opened anew from these.
    """

    def __init__(
        self, engine: Engine, metadata: ModelMetadata, model_sha256: str, opening: Opening
    ) -> None:
        self.metadata = metadata
        self.model_sha256 = model_sha256
        self.provider = engine.provider
        self.lanes = engine.lanes
        self._engine = engine
        self._opening = opening

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
            OptionsError: a number out of range, or a SHA-256 that is none.
            ArgumentError: an argument of another type.
            FileNotFoundError: there is no such file.
        """
        opening = checked_opening(model, provider, threads, device_id, sha256)
        processors = opening.threads or usable_processors()
        lanes = min(processors, MAX_LANES)
        with ThreadPoolExecutor(1) as importer:
            # While the file is read and hashed, and then while ONNX Runtime prepares the session:
            # neither holds the interpreter's lock. Hence no module above imports numpy either.
            importer.submit(importlib.import_module, "onnxruntime")
            content = opening.content()
            checked = check(content, opening.sha256)
            importer.submit(importlib.import_module, "lits_runtime.segment.one_scan")
            session = open_session(content, provider, processors // lanes, opening.device_id)
        if session_provider(session) != "cpu":
            lanes = 1  # a GPU takes one slab after the other
        pinned = replace(opening, sha256=checked.sha256)
        return cls(
            Engine(session, lanes, reopener(pinned, processors // lanes)),
            checked.metadata,
            checked.sha256,
            pinned,
        )

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session and its threads, after what other threads have under way.

        New calls are refused from now on. Closing twice is no error.

        Raises:
            ClosedError: called out of a segmentation, as from its `progress`.
        """
        self._engine.close()

    @property
    def model_file(self) -> Path | None:
        """Where the model was read from; no output may replace it."""
        return self._opening.model if isinstance(self._opening.model, Path) else None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._engine.closed

    def __reduce__(self) -> "tuple[Callable[[Opening], Segmenter], tuple[Opening]]":
        if self.closed:
            raise ClosedError("a closed segmenter cannot be pickled or copied")
        return _open_as, (self._opening,)

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
            OptionsError: the options do not fit the model.
            ArgumentError: an argument of a type that is not taken.
            ClosedError: the segmenter is closed.
            OutOfMemoryError: there is no memory for this scan.
        """
        from lits_runtime.segment.outputs import Outputs
        from lits_runtime.segment.segmentation import Segmentation

        with_probability = flag("with_probability", with_probability)
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
                (*task.scan.origins, *([self.model_file] if self.model_file else [])),
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
        force: bool = False,
        progress: "Progress | None" = None,
        cancel: "Cancel | None" = None,
    ) -> "Report":
        """Segment a scan and write its mask, whole or not at all; memory does not grow with it.

        No record is written. What is at the paths already is replaced if a record of a batch
        explains it, or with `force`; scan and model never are.

        Args:
            scan: as for `segment`; only files stream.
            mask: .nii or .nii.gz to write.
            options: what decides the labels; the model's own by default.
            mask_kind: "labels", or "liver" or "lesion" for a mask of 0 and 1.
            probability: .nii or .nii.gz to write, uint8 with slope 1/255, the class put into the
                name: "p.nii.gz" gives "p_lesion.nii.gz".
            batch_size: axial slices that go through the network at once.
            force: replace files that no record explains.
            progress: called with (slices done, slices in all), in the caller's thread.
            cancel: asked after each slab whether to give up.

        Raises:
            VolumeError: not a readable 3D CT volume.
            OutputError: a name ends otherwise, or what is there must not be replaced.
            CancelledError: `cancel` said so.
            OptionsError: the options do not fit the model.
            ArgumentError: an argument of a type that is not taken.
            ClosedError: the segmenter is closed.
            OutOfMemoryError: there is no memory for this scan.
            OSError: a file cannot be read or written.
        """
        from lits_runtime.files.output_rule import Inputs
        from lits_runtime.records.result_files import check_results
        from lits_runtime.segment.callbacks import out_of_memory
        from lits_runtime.segment.outputs import Outputs
        from lits_runtime.volumes.scan import Scan

        outputs = Outputs(
            mask=file_path("mask", mask),
            mask_kind=mask_kind,
            probability=file_path("probability", probability) if probability is not None else None,
        )
        with out_of_memory("the scan's header"):
            opened = Scan.open(scan)
        results = outputs.files(self.metadata.classes)
        inputs = Inputs("the scan", opened.origins)
        inputs.add("the model", [self.model_file] if self.model_file else [])

        def check(*_: object) -> None:
            check_results(results, inputs, force=force)

        check()
        with self.task(opened, options, outputs, batch_size) as task:
            return task.run(progress, cancel, before_naming=check)

    def task(
        self,
        scan: "ScanSource",
        options: Options | None,
        outputs: "Outputs",
        batch_size: int | None = None,
    ) -> "Task":
        """A scan that is opened, and read ahead if it streams, but not yet segmented."""
        if self.closed:
            raise ClosedError("this segmenter is closed; open another with Segmenter.open")
        if options is not None and not isinstance(options, Options):
            raise ArgumentError(f"options: {described(options)}, expected lits_runtime.Options")
        from lits_runtime.segment.one_scan import Task

        return Task(self, scan, options or Options(), outputs, batch_size)

    def probability(self, slab_hu: "ArrayLike") -> "NDArray[np.float32]":
        """Probabilities, float32 (n, classes, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: numbers, (n + 2 * context_slices, height, width); HU.

        Raises:
            VolumeError: numbers of another shape, or that are not finite.
            ArgumentError: no array of numbers.
        """
        probability: NDArray[np.float32] = self._run("probability", slab_hu)
        return probability

    def labels(self, slab_hu: "ArrayLike") -> "NDArray[np.uint8]":
        """Labels, uint8 (n, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: numbers, (n + 2 * context_slices, height, width); HU.

        Raises:
            VolumeError: numbers of another shape, or that are not finite.
            ArgumentError: no array of numbers.
        """
        labels: NDArray[np.uint8] = self._run("labels", slab_hu)
        return labels

    def _run(self, output: str, slab_hu: "ArrayLike") -> "NDArray[Any]":
        from lits_runtime.segment.slab_inference import checked_slab, run

        slab = checked_slab(slab_hu, self.metadata.context_slices)
        with self.session() as session:
            result: NDArray[Any] = run(session, [output], slab)[0]
            return result

    def session(self) -> AbstractContextManager[Any]:
        """ONNX Runtime's session, for a `with` block in which it stays open.

        Raises:
            ClosedError: the segmenter is closed.
        """
        return self._engine.in_use()

    def pool(self) -> ThreadPoolExecutor:
        """The threads in which slabs run; shared by all calls, so that they share the machine.

        Raises:
            ClosedError: the segmenter is closed.
        """
        return self._engine.pool()


def _open_as(opening: Opening) -> Segmenter:
    return Segmenter.open(
        opening.model,
        provider=opening.provider,
        threads=opening.threads,
        device_id=opening.device_id,
        sha256=opening.sha256,
    )
