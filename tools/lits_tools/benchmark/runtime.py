"""Speed and memory of the runtime, compared with the baseline and with a lower bound of its own."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_runtime.model.checked_file import check
from lits_tools.benchmark.measured.figures import Figure, line
from lits_tools.benchmark.measured.processes import Run, in_turn, median_ratio, median_seconds, run

logger = logging.getLogger(__name__)

_INFER = "from lits_runtime.cli.infer import main; main()"
_IMPORTS = "import lits_runtime.cli.infer, numpy, nibabel, onnxruntime, isal.igzip"
_EVERY_SLICE = ("--no-search", "--no-interpolation")
_LEAST_SPEEDUP = {"int8": 6.2, "bundled": 7.5}
"""Over the baseline, by the name of the model."""
_CALL = "import sys; from lits_tools.benchmark.runtime import {0}; print({0}(*sys.argv[1:]))"


def decompress_seconds(scan: str) -> float:
    """The time to decompress a .nii.gz, and nothing else."""
    from isal import igzip

    began = time.perf_counter()
    buffer = bytearray(2**20)
    gzip: Any = igzip.open  # isal has no types
    with gzip(scan, "rb") as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - began


def session_seconds(scan: str, model: str, provider: str) -> float:
    """The time that the model alone takes for a scan whose slabs are in memory."""
    from lits_runtime import Scan, Segmenter
    from lits_runtime.segment.one_scan import slab_slices
    from lits_runtime.system.threads import ordered_map

    opened = Scan.open(scan)
    segmenter = Segmenter.open(model, provider=provider)
    context = segmenter.metadata.context_slices
    size = slab_slices(segmenter.provider, context)
    slabs = [opened.slab_hu(run, context) for run in opened.slabs(size, context)]
    segmenter.labels(slabs[0])
    began = time.perf_counter()
    for _ in ordered_map(segmenter.engine.pool(), segmenter.labels, slabs, 2 * segmenter.lanes):
        pass
    return time.perf_counter() - began


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and on which scans."""

    models: dict[str, Path]
    """By name, for example the precision."""
    checkpoint: Path | None
    """Of the baseline recipe, to compare with; None: no comparison."""
    source: Path | None
    """A CT to make the scan from; None: the phantom."""
    small: Path | None
    """A small scan for the time to the first result; None: not measured."""
    folder: Path
    """For scans and masks."""
    slices: int = 300
    many_slices: int = 1000
    runs: int = 5
    provider: str = "cpu"

    def measure(self) -> list[Figure]:
        """All figures; takes about eight minutes per model on two cores."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scan = self._scan(self.slices)
        parts = (
            self._against_baseline,
            self._slices_left_out,
            self._against_bound,
            self._two_scans,
            self._memory,
        )
        figures = []
        for name, model in self.models.items():
            for part in parts:
                figures += _logged(part(name, model, scan))
        return figures + _logged(self._start(next(iter(self.models.values()))))

    def infer(self, model: Path, *scans: Path, options: Sequence[str] = ()) -> list[str]:
        """The interpreter's arguments for a lits-infer that segments scans anew."""
        names = [str(scan) for scan in scans]
        output = ["-o", str(self.folder / "masks"), "--force", "--quiet", *options]
        return ["-c", _INFER, *names, "-m", str(model), *output, "--provider", self.provider]

    def _scan(self, slices: int) -> Path:
        """Made in a process of its own: Linux counts a parent's memory as its children's peak."""
        path = self.folder / f"ct-{slices}.nii.gz"
        if not path.exists():
            source = [] if self.source is None else [str(self.source)]
            run(["-m", "lits_tools.benchmark.measured.scan", str(path), str(slices), *source])
        return path

    def _against_baseline(self, name: str, model: Path, scan: Path) -> list[Figure]:
        if self.checkpoint is None:
            return []
        mask = str(self.folder / "baseline_mask.nii.gz")
        baseline = [
            "-m",
            "lits_tools.benchmark.measured.baseline",
            str(self.checkpoint),
            str(scan),
            mask,
        ]
        runs = in_turn({"baseline": baseline, "ours": self.infer(model, scan)}, self.runs)
        speedup = median_ratio(runs["baseline"], runs["ours"])
        least = _LEAST_SPEEDUP.get(name, 5.5)
        peak_mb = max(one.peak_mb for one in runs["baseline"])
        seconds = median_seconds(runs["ours"])
        return [
            Figure(f"{name}: baseline", median_seconds(runs["baseline"]), "s"),
            Figure(f"{name}: baseline, peak memory", peak_mb, "MB"),
            Figure(f"{name}: lits-infer, {self.slices} slices", seconds, "s"),
            Figure(f"{name}: speed-up over the baseline", speedup, bound=f"at least {least}"),
        ]

    def _slices_left_out(self, name: str, model: Path, scan: Path) -> list[Figure]:
        """What the search and the interpolation gain, where the model allows them."""
        metadata = check(model.read_bytes()).metadata
        if not (metadata.search_mm or metadata.interpolation_mm):
            return []
        commands = {
            " ".join(options) or "as the model says": self.infer(model, scan, options=options)
            for options in ((), *((one,) for one in _EVERY_SLICE), _EVERY_SLICE)
        }
        runs = in_turn(commands, self.runs)
        return [
            figure
            for what, several in runs.items()
            for figure in (
                Figure(f"{name}: {what}", median_seconds(several), "s"),
                Figure(f"{name}: {what}, peak memory", max(one.peak_mb for one in several), "MB"),
            )
        ]

    def _against_bound(self, name: str, model: Path, scan: Path) -> list[Figure]:
        """The whole process over the sum of what it cannot do without; all slices are seen."""
        session = _CALL.format("session_seconds")
        commands = {
            "ours": self.infer(model, scan, options=_EVERY_SLICE),
            "session": ["-c", session, str(scan), str(model), self.provider],
            "gzip": ["-c", _CALL.format("decompress_seconds"), str(scan)],
            "imports": ["-c", _IMPORTS],
        }
        runs = in_turn(commands, self.runs)
        seconds_of: dict[str, Callable[[Run], float]] = {
            "session": _printed_seconds,
            "gzip": _printed_seconds,
            "imports": lambda one: one.seconds,
        }
        parts = {part: [of(one) for one in runs[part]] for part, of in seconds_of.items()}
        bounds = [sum(turn) for turn in zip(*parts.values(), strict=True)]
        ratios = [ours.seconds / low for ours, low in zip(runs["ours"], bounds, strict=True)]
        figures = [
            Figure(f"{name}: lower bound, {part}", statistics.median(seconds), "s")
            for part, seconds in parts.items()
        ]
        ratio = statistics.median(ratios)
        return [*figures, Figure(f"{name}: whole process over its bound", ratio, "", "at most 1.2")]

    def _two_scans(self, name: str, model: Path, scan: Path) -> list[Figure]:
        twin = self.folder / f"twin-{scan.name}"
        if not twin.exists():
            twin.hardlink_to(scan)
        runs = in_turn(
            {"two": self.infer(model, scan, twin), "one": self.infer(model, scan)}, self.runs
        )
        ratio = median_ratio(runs["two"], runs["one"])
        return [Figure(f"{name}: two scans over one", ratio, bound="less than 1.9")]

    def _memory(self, name: str, model: Path, scan: Path) -> list[Figure]:
        many = self._scan(self.many_slices)
        few_mb, many_mb = (run(self.infer(model, path)).peak_mb for path in (scan, many))
        title = f"{name}: peak memory, {self.many_slices} slices over {self.slices}"
        return [
            Figure(f"{name}: peak memory, {self.slices} slices", few_mb, "MB", "at most 220"),
            Figure(title, many_mb / few_mb, bound="at most 1.1"),
        ]

    def _start(self, model: Path) -> list[Figure]:
        commands: dict[str, Sequence[str]] = {"help": ["-c", _INFER, "--help"]}
        commands["import"] = ["-X", "importtime", "-c", "import lits_runtime"]
        if self.small is not None:
            commands["small"] = self.infer(model, self.small)
        runs = in_turn(commands, max(self.runs, 9))
        imported = statistics.median(_import_seconds(one) for one in runs["import"])
        figures = [
            Figure("lits-infer --help", median_seconds(runs["help"]), "s", "at most 0.25"),
            Figure("import lits_runtime", imported, "s", "less than 0.15"),
        ]
        if self.small is not None:
            seconds = median_seconds(runs["small"])
            figures.append(Figure(f"{self.small.name}, whole process", seconds, "s", "at most 1.2"))
        return figures


def _logged(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        logger.info("%s", line(figure))
    return figures


def _printed_seconds(process: Run) -> float:
    return float(process.output.split()[-1])


def _import_seconds(process: Run) -> float:
    """The cumulative time of the last import, as `-X importtime` prints it."""
    return float(process.output.splitlines()[-1].split("|")[1]) / 1e6
