"""The runtime's front door: open a model once, segment scans with it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.arguments import described, file_path, flag
from lits_runtime.errors import ArgumentError, ClosedError
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.segment.options import Options
from lits_runtime.session.engine import Engine
from lits_runtime.session.opening import Opening, checked_opening

if TYPE_CHECKING:  # NumPy is imported while the model is opened
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from lits_runtime.measure.report import Report
    from lits_runtime.segment.callbacks import Cancel, Progress
    from lits_runtime.segment.outputs import ToFiles
    from lits_runtime.segment.segmentation import Segmentation
    from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
    from lits_runtime.volumes.scan import ScanSource

_MEANWHILE = ("lits_runtime.segment.one_scan",)
"""What the first scan needs, imported while ONNX Runtime prepares the session."""


class Segmenter:
    """A model opened on a provider; `segment` may be called from several threads at once.

    A segmenter is a context manager, and `close` ends its threads. A process forked from one that
    has used it may go on using it, with a session and threads of its own; on a GPU that is a
    `ProviderError`. Pickled or copied it is the path of its model (or its bytes, if it was opened
    from bytes), its SHA-256 and the settings, from which it is opened again.

    Args:
        engine: runs the model; closed with the segmenter.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.metadata: ModelMetadata = engine.metadata
        self.model_sha256: str = engine.model_sha256
        self.provider: str = engine.provider
        """What the model runs on."""
        self.lanes: int = engine.lanes
        """How many slabs run at once."""

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
        """Check a model file (see `model.checked_file.check`), and open it.

        Args:
            model: path or content of a model written by lits-export; None: the bundled one.
            provider: "auto", "cpu", "cuda" or "tensorrt"; what is asked for loads, or it is an
                error.
            threads: for the CPU; None: all that this process may use.
            device_id: which GPU.
            sha256: of the only content to accept, in hexadecimal.

        Raises:
            ModelError: not a model of this project, damaged, hostile, of a newer format, or of
                another SHA-256.
            ProviderError: the provider did not load; the message names what is missing.
            OptionsError: a number out of range, or a malformed SHA-256.
            ArgumentError: an argument of another type.
            FileNotFoundError: there is no such file.
        """
        opening = checked_opening(model, provider, threads, device_id, sha256)
        return cls(Engine.open(opening, _MEANWHILE))

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session and its threads, once the calls under way in other threads are done.

        New calls are refused from now on. Closing twice is no error.

        Raises:
            ClosedError: called from within a segmentation, as from its `progress`.
        """
        self.engine.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.engine.closed

    @property
    def model_file(self) -> Path | None:
        """Where the model was read from; no output may replace it."""
        return next(iter(self.engine.origins), None)

    def __reduce__(self) -> "tuple[Callable[[Opening], Segmenter], tuple[Opening]]":
        if self.closed:
            raise ClosedError("a closed segmenter cannot be pickled or copied")
        return _open_again, (self.engine.opening,)

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
            options: by default the labels are as the model says.
            with_probability: hold the probabilities too.
            batch_size: axial slices that go through the network at once.
            progress: called with (slices done, slices in all), in the caller's thread.
            cancel: asked after each slab whether to stop.

        Raises:
            VolumeError: not a readable 3D CT volume.
            CancelledError: `cancel` asked to stop.
            OptionsError: the options do not fit the model.
            ArgumentError: an argument of the wrong type.
            ClosedError: the segmenter is closed.
            OutOfMemoryError: there is not enough memory for this scan.
        """
        from lits_runtime.segment.one_scan import OneScan
        from lits_runtime.segment.outputs import ToMemory
        from lits_runtime.segment.segmentation import Segmentation

        output = ToMemory(flag("with_probability", with_probability))
        applied = _checked(options).applied(self.metadata, output.with_probability)
        with OneScan.open(self.engine, scan, applied, batch_size) as one_scan:
            sink, report = one_scan.to_memory(output, progress, cancel)
            scan, origins = one_scan.scan, (*one_scan.scan.origins, *self.engine.origins)
        probability = sink.probability if output.with_probability else None
        return Segmentation(
            *(sink.labels, scan.geometry, report, scan.source, probability, origins),
            recipe=self.metadata.recipe,
        )

    def segment_file(
        self,
        scan: "ScanSource",
        mask: str | PathLike[str],
        options: Options | None = None,
        *,
        mask_kind: str = "labels",
        probability: str | PathLike[str] | None = None,
        formats: "Sequence[str]" = (),
        objects: "ObjectOptions | None" = None,
        batch_size: int | None = None,
        force: bool = False,
        progress: "Progress | None" = None,
        cancel: "Cancel | None" = None,
    ) -> "Report":
        """Write the mask of a scan, without a record; memory does not grow with the scan.

        Of a DICOM series, DICOM objects are written too; for these all labels are held in memory.

        Args:
            scan: as for `segment`; only files stream.
            mask: .nii or .nii.gz to write, whole or not at all; .dcm for a SEG of a DICOM series;
                with `formats` a folder, where all files appear together or none.
            options: as for `segment`.
            mask_kind: "labels", or "liver" or "lesion" for a mask of 0 and 1.
            probability: also to write, uint8 with slope 1/255; "p.nii" gives "p_lesion.nii".
            formats: what to write to a folder: "nifti", "seg", "sr", "sc", "rtstruct", under the
                names of `records.result_files.FORMATS`.
            objects: how DICOM objects are written; the usual way by default.
            batch_size: as for `segment`.
            force: replace files of others too; scan and model never are.
            progress: as for `segment`.
            cancel: as for `segment`.

        Raises:
            OutputError: a name has another ending, or an existing file must not be replaced.
            LitsError, OSError: as for `segment`, or a file cannot be written.
        """
        from lits_runtime.segment.one_scan import OneScan
        from lits_runtime.segment.outputs import ToFiles

        name = None if probability is None else file_path("probability", probability)
        output = ToFiles.named(file_path("mask", mask), formats, mask_kind, name, objects)
        applied = _checked(options).applied(self.metadata, name is not None)
        with OneScan.open(self.engine, scan, applied, batch_size) as one_scan:
            check = partial(self._check_files, output, one_scan.scan.origins, force)
            check()
            return one_scan.to_files(output, progress, cancel, before_naming=check)

    def _check_files(
        self,
        output: "ToFiles",
        origins: tuple[Path, ...],
        force: bool,
        written: "Iterable[Path]" = (),
    ) -> None:
        from lits_runtime.files.output_rule import Inputs
        from lits_runtime.records.result_files import check_results

        inputs = Inputs("the scan", origins).add("the model", self.engine.origins)
        files = output.files(self.metadata.classes)
        more = [path for path in written if path not in files]
        check_results([*files, *more], inputs, force=force)

    def probability(self, slab_hu: "ArrayLike") -> "NDArray[np.float32]":
        """Probabilities, float32 (n, classes, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: numbers, (n + 2 * context_slices, height, width); HU.

        Raises:
            VolumeError: an array of another shape, or with values that are not finite.
            ArgumentError: not an array of numbers.
        """
        probability: NDArray[np.float32] = self._run("probability", slab_hu)
        return probability

    def labels(self, slab_hu: "ArrayLike") -> "NDArray[np.uint8]":
        """Labels, uint8 (n, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: numbers, (n + 2 * context_slices, height, width); HU.

        Raises:
            VolumeError: an array of another shape, or with values that are not finite.
            ArgumentError: not an array of numbers.
        """
        labels: NDArray[np.uint8] = self._run("labels", slab_hu)
        return labels

    def _run(self, output: str, slab_hu: "ArrayLike") -> "NDArray[Any]":
        from lits_runtime.segment.slabs.inference import checked_slab
        from lits_runtime.session.run import run

        slab = checked_slab(slab_hu, self.metadata.context_slices)
        with self.engine.in_use() as session:
            result: NDArray[Any] = run(session, [output], slab)[0]
            return result


def _checked(options: object) -> Options:
    """A caller's options; those by default for None."""
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise ArgumentError(f"options: {described(options)}, expected lits_runtime.Options")
    return options


def _open_again(opening: Opening) -> Segmenter:
    return Segmenter(Engine.open(opening, _MEANWHILE))
