"""Where the labels and probabilities of one scan go: to files as they come, or into memory."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFiles
from lits_runtime.records.result_files import probability_path
from lits_runtime.segment.options import select
from lits_runtime.segment.slab_inference import SlabResult
from lits_runtime.volumes.nifti.writer import mask_writer
from lits_runtime.volumes.scan import Run, Scan
from lits_runtime.volumes.scratch import BLOCK_BYTES, Scratch

_Write: TypeAlias = Callable[[NDArray[np.uint8]], None]
_PROBABILITY_SLOPE = 1 / 255
_LABELS = ""
"""In place of the name of a class."""


@dataclass(frozen=True)
class Outputs:
    """What to keep of one scan, and where."""

    in_memory: bool = False
    with_probability: bool = False
    """In memory; `probability` names files."""
    mask: Path | None = None
    mask_kind: str = "labels"
    probability: Path | None = None

    def probability_path(self, name: str) -> Path:
        """The file of one class: "p.nii.gz" gives "p_lesion.nii.gz"."""
        if self.probability is None:
            raise ValueError("no file for probabilities was asked for")
        return probability_path(self.probability, name)

    def files(self, classes: tuple[str, ...]) -> tuple[Path, ...]:
        """All that is written with a model of these classes: the mask and probabilities."""
        mask = () if self.mask is None else (self.mask,)
        if self.probability is None:
            return mask
        return (*mask, *map(self.probability_path, classes))


class Sink:
    """Takes the slabs of one scan in stored order.

    The files are complete when the `ExitStack` is left without an error, and still to be named.

    Args:
        scan: whose grid and header the outputs take.
        outputs: what to keep.
        classes: channels of the probabilities.
        whole: hold the labels until `finish`, because they are asked for, or will be cleaned up,
            or do not come in the order of the file.
        files: completes the files.
        new: makes them.
    """

    def __init__(
        self,
        scan: Scan,
        outputs: Outputs,
        classes: tuple[str, ...],
        whole: bool,
        files: ExitStack,
        new: NewFiles,
    ) -> None:
        self._scan, self._outputs = scan, outputs
        shape = scan.geometry.shape
        turned = scan.file is not None and not scan.streams
        self.labels = np.zeros(shape, np.uint8, order="F") if whole else None
        """(i, j, k), held where the whole volume is."""
        self.probability: dict[str, NDArray[np.uint8]] = {}
        """By class, (i, j, k) in 255ths, held where they are asked for or come out of order."""
        self._turned: dict[str, Scratch] = {}
        """By class, and of the labels, what is written once all came, out of order, from a file."""
        self._files: dict[str, _Write] = {}
        self._channels = dict(enumerate(classes))
        if outputs.probability is not None:
            for name in classes:
                file = new.open(outputs.probability_path(name))
                self._files[name] = files.enter_context(
                    mask_writer(file, shape, scan.image, _PROBABILITY_SLOPE)
                )
        elif not outputs.with_probability:
            self._channels = {}
        scratch = [_LABELS] if turned and not whole else []
        if turned and not outputs.with_probability:
            scratch += self._channels.values()
        elif outputs.probability is None or not scan.streams:
            for name in self._channels.values():
                self.probability[name] = np.zeros(shape, np.uint8, order="F")
        axis = scan.geometry.canonical_axes[0]
        for name in scratch:
            self._turned[name] = files.enter_context(Scratch(shape, np.uint8, axis, 2))
        self._mask: _Write | None = None
        if outputs.mask is not None:
            self._mask = files.enter_context(mask_writer(new.open(outputs.mask), shape, scan.image))

    def put(self, run: Run, result: SlabResult) -> None:
        """Take the next slab."""
        geometry = self._scan.geometry
        index = geometry.stored_range(run.start, run.stop)
        start = index[geometry.canonical_axes[0]].start
        if self.labels is not None:
            self.labels[index] = geometry.from_canonical(result.labels)
        elif _LABELS in self._turned:
            self._turned[_LABELS].put(start, geometry.from_canonical(result.labels))
        elif self._mask is not None:
            self._mask(geometry.from_canonical(select(result.labels, self._outputs.mask_kind)))
        if result.probability is None:
            return
        for channel, name in self._channels.items():
            parts = np.rint(result.probability[:, channel] * 255).astype(np.uint8)
            if name in self.probability:
                self.probability[name][index] = geometry.from_canonical(parts)
            elif name in self._turned:
                self._turned[name].put(start, geometry.from_canonical(parts))
            else:
                self._files[name](geometry.from_canonical(parts))

    def finish(self) -> None:
        """Write what was held."""
        if self.labels is not None and self._mask is not None:
            self._mask(select(self.labels, self._outputs.mask_kind))
        for name, stored in self.probability.items():
            if name in self._files:
                self._files[name](stored)
        for name, scratch in self._turned.items():
            self._write_turned(name, scratch)

    def _write_turned(self, name: str, scratch: Scratch) -> None:
        shape = self._scan.geometry.shape
        count = max(1, BLOCK_BYTES // (shape[0] * shape[1]))
        for start in range(0, shape[2], count):
            block = scratch.take(start, min(start + count, shape[2]))
            if name != _LABELS:
                self._files[name](block)
            elif self._mask is not None:
                self._mask(select(block, self._outputs.mask_kind))
