"""One scan on its way through a model: read ahead, segmented, measured and written in order."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lits_runtime.arguments import whole_number
from lits_runtime.cleanup.clean_up import cleaned_up
from lits_runtime.errors import CancelledError, VolumeError
from lits_runtime.files.atomic import FileFacts, NewFiles
from lits_runtime.measure.report import Report
from lits_runtime.measure.volumes_ml import burden_percent
from lits_runtime.plausibility.warnings import (
    MOST_WARNINGS,
    geometry_warnings,
    refuse_impossible_spacing,
)
from lits_runtime.segment.callbacks import Cancel, Progress, check_callbacks, is_cancelled
from lits_runtime.segment.memory_errors import out_of_memory
from lits_runtime.segment.options import Applied
from lits_runtime.segment.outputs import FileSink, MemorySink, Sink, ToFiles, ToMemory
from lits_runtime.segment.series_objects import algorithm_of, series_of, write_objects
from lits_runtime.segment.slabs.findings import Findings
from lits_runtime.segment.slabs.inference import Inference, transforms_of
from lits_runtime.segment.slabs.pipeline import SlabPipeline
from lits_runtime.session.engine import Engine
from lits_runtime.volumes.scan import Scan, ScanSource

BeforeNaming: TypeAlias = Callable[[dict[Path, FileFacts]], None]

MAX_SLAB_VOXELS = 2**22
"""Slices larger than those of a CT go through the network in smaller batches, down to one."""


def slab_slices(provider: str, context_slices: int) -> int:
    """How many slices go through the network at once, unless the caller asks for a number.

    Few on the CPU, where several slabs run side by side and each slice, neighbours included, takes
    some 20 MB. Fewer would resize neighbours too often: two instead of three cost 4 % of the time.
    """
    return max(2, 3 - context_slices) if provider == "cpu" else 16


class OneScan:
    """A scan that is open, and read ahead in the background if it streams, for one segmentation.

    Args:
        engine: to segment with.
        scan: to segment.
        applied: options, completed by the model.
        batch_size: axial slices that go through the network at once.
    """

    def __init__(self, engine: Engine, scan: Scan, applied: Applied, batch_size: int) -> None:
        self.scan = scan
        self.warnings = geometry_warnings(scan)
        self._engine, self._applied = engine, applied
        self._findings = Findings(scan.geometry, engine.metadata.classes, applied.postprocessing)
        self._slabs = SlabPipeline(engine, scan, applied, batch_size, self._findings)
        self._looked_at = 0

    @classmethod
    def open(
        cls, engine: Engine, source: ScanSource, applied: Applied, batch_size: int | None = None
    ) -> "OneScan":
        """Open a scan and start to read it.

        Raises:
            VolumeError: not a readable 3D CT volume; with `Options.strict`, also one to warn about.
            OptionsError: a batch size below 1.
            ModelError: `Options.tta` for a model that was trained without transforms.
            ClosedError: the engine is closed.
            OutOfMemoryError: there is no memory for the header.
        """
        engine.refuse_if_closed()
        if applied.tta:
            transforms_of(engine.metadata)  # raises before anything is read
        if batch_size is not None:
            batch_size = whole_number("batch_size", batch_size, 1)
        with out_of_memory("the scan's header"):
            scan = Scan.open(source)
        refuse_impossible_spacing(scan)
        _, height, width = scan.geometry.canonical_shape
        wanted = batch_size or slab_slices(engine.provider, engine.metadata.context_slices)
        most = max(1, MAX_SLAB_VOXELS // (height * width))
        one_scan = cls(engine, scan, applied, min(wanted, most))
        one_scan._refuse_warnings()
        if scan.streams:
            one_scan._slabs.read_ahead()
        return one_scan

    def __enter__(self) -> "OneScan":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._slabs.close()

    def to_memory(
        self, output: ToMemory, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> tuple[MemorySink, Report]:
        """Segment the scan; its labels, and the probabilities if asked for, and the report.

        Args:
            output: what to hold.
            progress: called with (slices done, slices in all).
            cancel: asked after each slab whether to stop.
        """
        check_callbacks(progress, cancel)
        began = time.perf_counter()
        classes = self._engine.metadata.classes if output.with_probability else ()
        with self._inference(output.with_probability) as infer:
            sink = MemorySink(self.scan.geometry, classes)
            self._segment(infer, sink, progress, cancel)
        whole_because = "the labels were asked for in memory"
        return sink, self._report(whole_because, time.perf_counter() - began)

    def to_files(
        self,
        output: ToFiles,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        before_naming: BeforeNaming | None = None,
    ) -> Report:
        """Segment the scan and write its results, all of them or none.

        Args:
            output: files to write.
            progress: called with (slices done, slices in all).
            cancel: asked after each slab whether to stop.
            before_naming: called when all files are written and on the disk, under temporary
                names, with size and digest of each; if it raises, they are removed.
        """
        check_callbacks(progress, cancel)
        if output.objects:
            series_of(self.scan)  # raises before anything is segmented
        began = time.perf_counter()
        classes = self._engine.metadata.classes
        with self._inference(output.probability is not None) as infer, NewFiles() as new:
            with FileSink.open(self.scan, output, classes, new) as sink:
                self._segment(infer, sink, progress, cancel)
                labels = sink.labels
            if labels is not None:
                self._write_objects(output, labels, new, cancel)
            facts = new.close()
            if before_naming is not None:
                before_naming(facts)
            new.take_names()
        whole_because = self.scan.whole_because
        if output.objects:
            whole_because = "DICOM objects are made of all labels"
        return self._report(whole_because, time.perf_counter() - began)

    def _write_objects(
        self, output: ToFiles, labels: NDArray[np.uint8], new: NewFiles, cancel: Cancel | None
    ) -> None:
        algorithm = algorithm_of(self._engine.metadata.recipe, self._engine.model_sha256)
        objects, options, report = output.objects, output.object_options, self._report(None, 0.0)
        write_objects(objects, options, self.scan, labels, report, algorithm, new, cancel)

    @contextmanager
    def _inference(self, with_probability: bool) -> Iterator[Inference]:
        """The model, open within the block; if memory runs out there, the error names the scan."""
        engine, shape = self._engine, " x ".join(map(str, self.scan.geometry.shape))
        sizes = () if engine.provider == "cpu" else self._slabs.sizes
        with_probability = with_probability or self._slabs.interpolates
        with (
            out_of_memory(f"{self.scan.name}, {shape} voxels"),
            engine.in_use() as session,
        ):
            yield Inference(session, engine.metadata, self._applied, with_probability, sizes)

    def _segment(
        self, infer: Inference, sink: Sink, progress: Progress | None, cancel: Cancel | None
    ) -> None:
        with (
            closing(self._labels(infer, sink, progress, cancel)) as slabs,
            closing(cleaned_up(slabs, self.scan.geometry, self._applied.postprocessing)) as cleaned,
        ):
            for start, labels in cleaned:
                self._findings.count(start, labels)
                sink.put(start, labels)
        sink.finish()
        self.warnings = [*self._findings.warnings(), *self.warnings, *self.scan.warnings]
        self._refuse_warnings()

    def _labels(
        self, infer: Inference, sink: Sink, progress: Progress | None, cancel: Cancel | None
    ) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
        """First slice and labels of all slabs, of which everything else is taken note of here."""
        done, slices = 0, self.scan.geometry.canonical_shape[0]
        with closing(self._slabs.run(infer)) as slabs:
            for slab in slabs:
                if is_cancelled(cancel):
                    raise CancelledError(f"{self.scan.name}: cancelled, nothing written")
                self._findings.add(slab)
                sink.put_probability(slab.start, slab.result)
                yield slab.start, slab.result.labels
                done += len(slab.result.labels)
                self._looked_at += 0 if slab.result.left_out else len(slab.result.labels)
                if progress is not None:
                    progress(done, slices)

    def _refuse_warnings(self) -> None:
        if self._applied.strict and self.warnings:
            raise VolumeError(
                f"{self.scan.name}: {self.warnings[0]} (a warning, and an error with --strict)"
            )

    def _report(self, whole_because: str | None, seconds: float) -> Report:
        geometry, engine, tally = self.scan.geometry, self._engine, self._findings.tally
        lesions, lesion_count = self._findings.lesions
        volumes_ml = tally.volumes_ml(engine.metadata.classes)
        return Report(
            warnings=tuple(self.warnings[:MOST_WARNINGS]),
            volumes_ml=volumes_ml,
            tumour_burden_percent=burden_percent(volumes_ml),
            liver_cut=tally.liver_cut() if "liver" in volumes_ml else (),
            lesions=lesions,
            lesion_count=lesion_count,
            shape=geometry.shape,
            spacing_mm=geometry.spacing_mm,
            axis_codes=geometry.axis_codes,
            slices_looked_at=self._looked_at,
            applied=self._applied.to_json(),
            whole_because=whole_because,
            provider=engine.provider,
            model_sha256=engine.model_sha256,
            scan_sha256=self.scan.sha256,
            seconds=seconds,
            scan_bytes=self.scan.source.size_bytes,
        )
