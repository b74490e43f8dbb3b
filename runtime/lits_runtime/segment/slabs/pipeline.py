"""The slabs of one scan on their way through a model: read ahead, searched, segmented, in order."""

from collections.abc import Generator, Iterable
from contextlib import closing
from functools import partial

from lits_runtime.segment.options import Applied
from lits_runtime.segment.slabs.findings import ExaminedSlab, Findings
from lits_runtime.segment.slabs.inference import Inference, SlabResult
from lits_runtime.segment.slabs.interpolation import (
    Stretch,
    labels_between,
    probability_between,
    stretches,
)
from lits_runtime.segment.slabs.liver_search import (
    Found,
    LiverSearch,
    slab_size,
    slices_within,
    step_of,
)
from lits_runtime.session.engine import Engine
from lits_runtime.system.threads import Prefetched, ordered_map
from lits_runtime.volumes.scan import Scan, StoredSlab


class SlabPipeline:
    """Segments the slabs of one scan in the threads of an engine.

    Args:
        engine: to segment with.
        scan: to segment.
        applied: options, completed by the model.
        batch_size: axial slices that go through the network at once, where no slice is left out.
        findings: that examine the slabs.
    """

    def __init__(
        self, engine: Engine, scan: Scan, applied: Applied, batch_size: int, findings: Findings
    ) -> None:
        self._engine, self._scan, self._findings = engine, scan, findings
        self._stride = slices_within(scan.geometry, applied.interpolation_mm)
        self._step = step_of(scan.geometry, applied.search_mm, self._stride)
        self._batch_size = self._slab_size(batch_size)
        self._keeps_probability = bool(applied.tta or applied.thresholds)
        """Of interpolated slices too, as of all others where the labels come from them."""
        self._ahead: Prefetched[StoredSlab] | None = None

    def _slab_size(self, batch_size: int) -> int:
        if self.interpolates:
            return self._stride - 1  # the model sees single slices
        return slab_size(self._step, batch_size) if self._step > 1 else batch_size

    @property
    def interpolates(self) -> bool:
        """Whether there are slices between those that the model sees."""
        return self._stride > 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many slices go through the network at once, in all that follows."""
        if self.interpolates:
            return (1,)
        return (1, self._batch_size)[self._step == 1 :]

    def close(self) -> None:
        """Stop reading."""
        if self._ahead is not None:
            self._ahead.close()

    def read_ahead(self) -> Prefetched[StoredSlab]:
        """Start to read the scan in the background."""
        if self._ahead is None:
            context = self._engine.metadata.context_slices
            apart = self._stride if self.interpolates else self._step
            slabs = self._scan.slabs(
                self._batch_size,
                context,
                apart if apart > 1 else None,
                context_between=not self.interpolates,
            )
            self._ahead = Prefetched(slabs, self._engine.lanes + 1)
        return self._ahead

    def run(self, infer: Inference) -> Generator[ExaminedSlab, None, None]:
        """All slabs in the order of storage; closing the generator waits for those under way."""
        with self.read_ahead() as stored, closing(self._searched(infer, stored)) as found:
            pool, lanes = self._engine.pool(), self._engine.lanes
            if self.interpolates:
                together = stretches(found, self._scan.geometry, self._stride)
                segment_stretch = partial(self._segment_stretch, infer)
                with closing(ordered_map(pool, segment_stretch, together, lanes + 1)) as examined:
                    for slabs in examined:  # each of several slices: fewer at once
                        yield from slabs
            else:
                segment_found = partial(self._segment_found, infer)
                yield from ordered_map(pool, segment_found, found, 2 * lanes)

    def _searched(
        self, infer: Inference, stored: Iterable[StoredSlab]
    ) -> Generator[Found, None, None]:
        """All slabs, and what the search for the liver says of them."""
        if self._step == 1:
            yield from (Found(slab, None, left_out=False) for slab in stored)
            return
        look = partial(self._segment_slab, infer)
        search = LiverSearch(self._scan.geometry, self._step, self._engine.pool(), look)
        with closing(search.run(stored)) as found:
            yield from found

    def _segment_found(self, infer: Inference, found: Found) -> ExaminedSlab:
        if found.looked_at is not None:
            return found.looked_at
        return self._segment_slab(infer, found.slab, found.left_out)

    def _segment_slab(
        self, infer: Inference, stored: StoredSlab, left_out: bool = False
    ) -> ExaminedSlab:
        context = self._engine.metadata.context_slices
        slab_hu = self._scan.slab_hu(stored, context)
        own_hu = slab_hu[context : len(slab_hu) - context]
        result = SlabResult.background(own_hu.shape) if left_out else infer(slab_hu)
        return self._findings.examine(stored.start, own_hu, result)

    def _segment_stretch(self, infer: Inference, stretch: Stretch) -> list[ExaminedSlab]:
        try:
            seen = self._segment_found(infer, stretch.seen)
        except BaseException as error:  # whatever it is, the next stretch waits for it
            stretch.result.set_exception(error)
            raise
        stretch.result.set_result(seen)
        slabs = [seen if self._keeps_probability else seen.without_probability()]
        if stretch.between is not None and stretch.before is not None:
            ends = (stretch.before.result(), seen)
            slabs.insert(0, self._segment_between(infer, stretch.between, ends))
        return slabs

    def _segment_between(
        self, infer: Inference, found: Found, ends: tuple[ExaminedSlab, ExaminedSlab]
    ) -> ExaminedSlab:
        slab_hu = self._scan.slab_hu(found.slab)
        result = SlabResult.background(slab_hu.shape)
        if not found.left_out:
            low, high = (end.result for end in sorted(ends, key=lambda end: end.start))
            values, count = infer.metadata.label_values, len(slab_hu)
            labels = labels_between(low, high, count, infer.thresholds, values)
            keeps = self._keeps_probability
            probability = probability_between(low, high, count) if keeps else None
            result = SlabResult(labels, probability, left_out=True)
        return self._findings.examine(found.slab.start, slab_hu, result)
