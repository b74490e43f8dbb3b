"""Where the labels and probabilities of one scan go: into memory, or to files as they come."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFiles
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.records.result_files import (
    check_endings,
    format_of,
    pictures,
    probability_path,
    series_files,
)
from lits_runtime.segment.options import check_mask_kind, mask_of
from lits_runtime.segment.slabs.inference import SlabResult
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.memory import ArraySink
from lits_runtime.volumes.open import open_sink
from lits_runtime.volumes.scan import Scan
from lits_runtime.volumes.source import Content, LabelSink

_CERTAIN = 255
"""What a probability of 1 is stored as."""


@dataclass(frozen=True)
class ToMemory:
    """Hold labels, and probabilities too if asked for."""

    with_probability: bool = False


@dataclass(frozen=True)
class ToFiles:
    """Write a mask, and probabilities and DICOM objects if they have a name."""

    mask: Path | None
    """None: DICOM objects alone are wanted."""
    mask_kind: str = "labels"
    """One of `options.MASK_KINDS`."""
    probability: Path | None = None
    """Completed by the class: "p.nii.gz" gives "p_lesion.nii.gz"."""
    objects: Mapping[str, Path] = field(default_factory=dict)
    """By format, as `records.result_files.series_files` names them; of a DICOM series only."""
    object_options: ObjectOptions = field(default_factory=ObjectOptions)

    def __post_init__(self) -> None:
        """Check the kind of mask.

        Raises:
            ArgumentError, OptionsError: it is none.
        """
        check_mask_kind(self.mask_kind)

    @classmethod
    def named(
        cls,
        output: Path,
        formats: Sequence[str] = (),
        mask_kind: str = "labels",
        probability: Path | None = None,
        object_options: ObjectOptions | None = None,
    ) -> "ToFiles":
        """What a caller's names ask for.

        Args:
            output: a mask or SEG by its ending; with `formats` a folder.
            formats: see `records.result_files.series_files`.
            mask_kind: what the mask holds.
            probability: see the class.
            object_options: None: the usual ones.

        Raises:
            OutputError: a name with another ending.
            OptionsError: there is no such format, or it does not fit the name.
        """
        only = format_of(output)
        if not formats and only is None:
            check_endings([output])
        objects = series_files(output, formats) if formats else {str(only): output}
        mask = objects.pop("nifti", None)
        check_endings([] if probability is None else [probability])
        return cls(mask, mask_kind, probability, objects, object_options or ObjectOptions())

    def probabilities(self, classes: tuple[str, ...]) -> dict[str, Path]:
        """The file of each class."""
        if self.probability is None:
            return {}
        return {name: probability_path(self.probability, name) for name in classes}

    def files(self, classes: tuple[str, ...]) -> tuple[Path, ...]:
        """All files written with a model of these classes, the mask first.

        Of secondary captures, whose number is not known, those that are there.
        """
        masks = () if self.mask is None else (self.mask,)
        objects = [path for name, path in self.objects.items() if name != "sc"]
        captures = pictures(self.objects["sc"]) if "sc" in self.objects else []
        return *masks, *self.probabilities(classes).values(), *objects, *captures

    def mask_values(self, classes: tuple[str, ...]) -> dict[str, int]:
        """The value of each class in the mask."""
        if self.mask_kind == "labels":
            return {name: LABEL_VALUES[name] for name in classes}
        return {self.mask_kind: 1}


class Sink(Protocol):
    """Takes the slabs of one scan in the order of `Geometry.slab_ranges`."""

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take labels (n, height, width) from canonical slice `start` on."""

    def put_probability(self, start: int, result: SlabResult) -> None:
        """Take the probabilities of a slab, if there are any."""

    def finish(self) -> None:
        """Complete what is held or written."""


class MemorySink:
    """Labels and probabilities as arrays.

    Args:
        geometry: of the scan.
        classes: for which to hold probabilities.
    """

    def __init__(self, geometry: Geometry, classes: Sequence[str]) -> None:
        self._labels = ArraySink(geometry)
        self._probability = {name: ArraySink(geometry) for name in classes}

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(i, j, k) in the scan's stored axis order."""
        return self._labels.labels

    @property
    def probability(self) -> dict[str, NDArray[np.uint8]]:
        """By class, (i, j, k) in 255ths."""
        return {name: sink.labels for name, sink in self._probability.items()}

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Hold labels (n, height, width) from canonical slice `start` on."""
        self._labels.put(start, labels)

    def put_probability(self, start: int, result: SlabResult) -> None:
        """Hold the probabilities of a slab, if there are any."""
        _put_probability(self._probability.values(), start, result)

    def finish(self) -> None:
        """Nothing is left to do."""


class FileSink:
    """A mask and probabilities as files, and labels for DICOM objects.

    Args:
        mask: takes the mask, if one is wanted.
        mask_kind: what the mask holds.
        probability: take the probabilities, one for each class of the model.
        labels: holds the labels, if DICOM objects will be made of them.
    """

    def __init__(
        self,
        mask: LabelSink | None,
        mask_kind: str,
        probability: Sequence[LabelSink],
        labels: ArraySink | None = None,
    ) -> None:
        self._mask, self._mask_kind, self._probability = mask, mask_kind, probability
        self._labels = labels

    @classmethod
    @contextmanager
    def open(
        cls, scan: Scan, output: ToFiles, classes: tuple[str, ...], new: NewFiles
    ) -> "Iterator[FileSink]":
        """Begin the files, which are complete when the block is left without an error.

        Args:
            scan: whose grid and header they take.
            output: their names, and what the mask holds.
            classes: of the model.
            new: gives the files, and names them once they are complete.
        """
        with ExitStack() as sinks:

            def sink(path: Path, content: Content) -> LabelSink:
                opened = open_sink(new.open(path), scan.source, content)
                sinks.callback(opened.close)
                return opened

            probability = [
                sink(path, Content({name: _CERTAIN}, slope=1 / _CERTAIN))
                for name, path in output.probabilities(classes).items()
            ]
            mask = None
            if output.mask is not None:
                mask = sink(output.mask, Content(output.mask_values(classes)))
            labels = ArraySink(scan.geometry) if output.objects else None
            yield cls(mask, output.mask_kind, probability, labels)

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """(i, j, k) in the scan's stored axis order; None unless objects are wanted."""
        return None if self._labels is None else self._labels.labels

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Write what the mask holds of labels (n, height, width) from canonical slice `start`."""
        if self._mask is not None:
            self._mask.put(start, mask_of(labels, self._mask_kind))
        if self._labels is not None:
            self._labels.put(start, labels)

    def put_probability(self, start: int, result: SlabResult) -> None:
        """Write the probabilities of a slab, if there are any."""
        _put_probability(self._probability, start, result)

    def finish(self) -> None:
        """Complete the files."""
        for sink in (self._mask, *self._probability):
            if sink is not None:
                sink.finish()


def _put_probability(sinks: Iterable[LabelSink], start: int, result: SlabResult) -> None:
    """Give each class its probabilities, in 255ths."""
    if result.probability is None:
        return
    for channel, sink in enumerate(sinks):
        sink.put(start, np.rint(result.probability[:, channel] * _CERTAIN).astype(np.uint8))
