"""One scan on its way through the runtime: read ahead, run, collected and written in order."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lits_runtime.arguments import described, whole_number
from lits_runtime.errors import ArgumentError, CancelledError, VolumeError
from lits_runtime.files.atomic import FileFacts, NewFiles
from lits_runtime.measure.lesions import Lesion, LesionTracker
from lits_runtime.measure.report import LESION, Report, Tally, burden_percent
from lits_runtime.plausibility.overview import Overview
from lits_runtime.plausibility.warnings import (
    MOST_WARNINGS,
    geometry_warnings,
    refuse_impossible_spacing,
    scan_warnings,
)
from lits_runtime.segment.callbacks import out_of_memory, truth_of
from lits_runtime.segment.cleanup import clean_up
from lits_runtime.segment.options import Options, select
from lits_runtime.segment.outputs import Outputs, Sink
from lits_runtime.segment.slab_inference import Inference, SlabResult, transforms_of
from lits_runtime.system.cached_property import cached_property
from lits_runtime.system.threads import Prefetched, ordered_map
from lits_runtime.volumes.scan import Run, Scan, ScanSource

if TYPE_CHECKING:
    from lits_runtime.segment.segmenter import Segmenter

Progress: TypeAlias = Callable[[int, int], None]
Cancel: TypeAlias = Callable[[], bool]
Naming: TypeAlias = Callable[[dict[Path, FileFacts]], None]

MAX_SLAB_VOXELS = 2**22
"""Slices larger than CT's go through the network in smaller batches, down to one."""


@dataclass(frozen=True)
class _Slab:
    """One run with what the model said of it."""

    run: Run
    result: SlabResult
    slab_hu: NDArray[np.float32] | None
    """(n, height, width), where there are lesions to measure."""
    lowest_hu: float
    highest_hu: float
    sampled_hu: NDArray[np.int16]
    """Of the overview."""


def slab_slices(provider: str, context_slices: int) -> int:
    """Slices that go through the network at once, where nobody asks for another number.

    Few on the CPU, where several slabs run side by side and memory counts; but neighbours are
    resized anew for each slab, so that models that see them get larger ones.
    """
    return 3 + context_slices if provider == "cpu" else 16


class Task:
    """One scan: opened when made, read ahead in the background if it streams."""

    def __init__(
        self,
        segmenter: "Segmenter",
        scan: ScanSource,
        options: Options,
        outputs: Outputs,
        batch_size: int | None,
    ) -> None:
        self._segmenter, self._options, self._outputs = segmenter, options, outputs
        metadata = segmenter.metadata
        options.check(metadata)
        if options.tta:
            transforms_of(metadata)  # raises before anything is read
        select(np.zeros(0, np.uint8), outputs.mask_kind)
        if batch_size is not None:
            batch_size = whole_number("batch_size", batch_size, 1)
        with out_of_memory("the scan's header"):
            self.scan = Scan.open(scan)
        refuse_impossible_spacing(self.scan)
        self.warnings = geometry_warnings(self.scan)
        self._refuse_warnings()
        _, height, width = self.scan.geometry.canonical_shape
        wanted = batch_size or slab_slices(segmenter.provider, metadata.context_slices)
        self._batch_size = max(1, min(wanted, MAX_SLAB_VOXELS // (height * width)))
        self._runs: Prefetched[Run] | None = None
        if self.scan.streams:
            self._read_ahead()
        self._overview = Overview(self.scan.geometry)
        self.sink: Sink | None = None
        """Holds the labels and probabilities asked for in memory, once the scan has run."""

    def __enter__(self) -> "Task":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._runs is not None:
            self._runs.close()

    @cached_property
    def whole_because(self) -> str | None:
        """Why the scan does not stream into its mask; None if it does."""
        if self._options.cleans_up:
            return "clean-up in 3D needs all labels"
        if self._outputs.in_memory:
            return "the labels were asked for in memory"
        return self.scan.whole_because

    @property
    def _holds_labels(self) -> bool:
        """Whether all labels are held at once, in place of written as they come, or to disk."""
        return self._options.cleans_up or self._outputs.in_memory or self.scan.file is None

    def run(
        self,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        before_naming: Naming | None = None,
    ) -> Report:
        """Segment the scan and write what the outputs name.

        Args:
            progress: called with (slices done, slices in all).
            cancel: asked after each slab whether to give up.
            before_naming: called when all files are written and on the disk, under temporary
                names, with what was written to each; if it raises, they are removed.
        """
        for name, callback in (("progress", progress), ("cancel", cancel)):
            if callback is not None and not callable(callback):
                raise ArgumentError(f"{name}: {described(callback)}, expected a function")
        began = time.perf_counter()
        shape = " x ".join(map(str, self.scan.geometry.shape))
        with (
            out_of_memory(f"{self.scan.name}, {shape} voxels"),
            self._segmenter.session() as session,
            NewFiles() as new,
        ):
            report = self._segment(self._inference(session), progress, cancel, new)
            facts = new.close()
            if before_naming is not None:
                before_naming(facts)
            new.take_names()
        return replace(report, seconds=time.perf_counter() - began)

    def _inference(self, session: Any) -> Inference:
        outputs, segmenter = self._outputs, self._segmenter
        return Inference(
            session,
            segmenter.metadata,
            self._options,
            outputs.with_probability or outputs.probability is not None,
            None if segmenter.provider == "cpu" else self._batch_size,
        )

    def _segment(
        self, infer: Inference, progress: Progress | None, cancel: Cancel | None, new: NewFiles
    ) -> Report:
        geometry, classes = self.scan.geometry, self._segmenter.metadata.classes
        tally = Tally(geometry)
        tracker = LesionTracker(geometry, keep_all=self._options.cleans_up)
        with ExitStack() as files, closing(self._slabs(infer)) as slabs:
            self.sink = Sink(self.scan, self._outputs, classes, self._holds_labels, files, new)
            done = 0
            for slab in slabs:
                if cancel is not None and truth_of(cancel()):
                    raise CancelledError(f"{self.scan.name}: given up as asked, nothing written")
                self._measure(slab, tally, tracker)
                self.sink.put(slab.run, slab.result)
                done += slab.run.stop - slab.run.start
                if progress is not None:
                    progress(done, geometry.canonical_shape[0])
            self.warnings += self.scan.warnings
            if self._options.cleans_up and self.sink.labels is not None:
                tally, found = self._clean_up(self.sink.labels, tally, tracker)
            else:
                found = tracker.lesions()
            found_in = scan_warnings(self._overview, tally, found[1], classes)
            self.warnings = [*found_in, *self.warnings][:MOST_WARNINGS]
            self._refuse_warnings()
            self.sink.finish()
        return self._report(tally, *found)

    def _read_ahead(self) -> Prefetched[Run]:
        if self._runs is None:
            runs = self.scan.runs(self._batch_size, self._segmenter.metadata.context_slices)
            self._runs = Prefetched(runs, self._segmenter.lanes + 1)
        return self._runs

    def _slabs(self, infer: Inference) -> Generator[_Slab, None, None]:
        with self._read_ahead() as runs:
            depth, work = 2 * self._segmenter.lanes, partial(self._work, infer)
            yield from ordered_map(self._segmenter.pool(), work, runs, depth)

    def _work(self, infer: Inference, run: Run) -> _Slab:
        context = self._segmenter.metadata.context_slices
        slab_hu = self.scan.slab_hu(run, context)
        result = infer(slab_hu)
        own_hu = slab_hu[context : context + run.stop - run.start]
        has_lesion = bool((result.labels == LESION).any())
        return _Slab(
            run,
            result,
            own_hu if has_lesion else None,
            float(own_hu.min()),
            float(own_hu.max()),
            self._overview.sample(run.start, own_hu),
        )

    def _measure(self, slab: _Slab, tally: Tally, tracker: LesionTracker) -> None:
        run, labels = slab.run, slab.result.labels
        tally.add(run.start, labels)
        tally.see(slab.lowest_hu, slab.highest_hu)
        self._overview.put(run.start, slab.sampled_hu, labels)
        chance = self._lesion_probability(slab.result)
        tracker.add_slab(run.start, labels, slab.slab_hu, chance)

    def _clean_up(
        self, labels: NDArray[np.uint8], before: Tally, tracker: LesionTracker
    ) -> tuple[Tally, tuple[tuple[Lesion, ...], int]]:
        geometry = self.scan.geometry
        canonical, tally = geometry.to_canonical(labels), Tally(geometry)
        # In canonical order, so that of equal components the same one is kept in any orientation.
        clean_up(canonical.T, geometry.voxel_ml, self._options)
        tally.see(before.lowest_hu, before.highest_hu)
        self._overview.relabel(canonical)
        for index, slice_labels in enumerate(canonical):
            tally.add(index, slice_labels[None])
        return tally, tracker.lesions(canonical)

    def _lesion_probability(self, result: SlabResult) -> NDArray[np.float32] | None:
        classes = self._segmenter.metadata.classes
        if result.probability is None or "lesion" not in classes:
            return None
        return result.probability[:, classes.index("lesion")]

    def _refuse_warnings(self) -> None:
        if self._options.strict and self.warnings:
            raise VolumeError(f"{self.scan.name}: {self.warnings[0]} (a warning, but for --strict)")

    def _report(self, tally: Tally, lesions: tuple[Lesion, ...], lesion_count: int) -> Report:
        geometry, segmenter = self.scan.geometry, self._segmenter
        volumes_ml = tally.volumes_ml(segmenter.metadata.classes)
        return Report(
            warnings=tuple(self.warnings),
            volumes_ml=volumes_ml,
            tumour_burden_percent=burden_percent(volumes_ml),
            liver_cut=tally.liver_cut() if "liver" in volumes_ml else (),
            lesions=lesions,
            lesion_count=lesion_count,
            shape=geometry.shape,
            spacing_mm=geometry.spacing_mm,
            axis_codes=geometry.axis_codes,
            whole_because=self.whole_because,
            provider=segmenter.provider,
            model_sha256=segmenter.model_sha256,
            scan_sha256=self.scan.sha256,
            seconds=0.0,
            scan_bytes=None if self.scan.file is None else self.scan.file.watched.bytes,
        )
