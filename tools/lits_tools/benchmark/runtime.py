"""How fast and how light the runtime is, against the seed's way and against its own floor."""

import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_tools.benchmark.processes import Run, in_turn, median_ratio, median_seconds, run

logger = logging.getLogger(__name__)

_INFER = "from lits_runtime.cli.infer import main; main()"
_IMPORTS = "import lits_runtime.cli.infer, numpy, nibabel, onnxruntime, isal.igzip"
_DECOMPRESS = """
import sys, time
from isal import igzip
began = time.perf_counter()
buffer = bytearray(2**20)
with igzip.open(sys.argv[1], "rb") as file:
    while file.readinto(buffer):
        pass
print(time.perf_counter() - began)
"""
_SESSION = """
import sys, time
from lits_runtime import Scan, Segmenter
from lits_runtime.system.threads import ordered_map
from lits_runtime.segment.one_scan import slab_slices
scan = Scan.open(sys.argv[1])
segmenter = Segmenter.open(sys.argv[2], provider=sys.argv[3])
context = segmenter.metadata.context_slices
size = slab_slices(segmenter.provider, context)
slabs = [scan.slab_hu(run, context) for run in scan.slabs(size, context)]
segmenter.labels(slabs[0])
began = time.perf_counter()
for labels in ordered_map(segmenter.engine.pool(), segmenter.labels, slabs, 2 * segmenter.lanes):
    pass
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Figure:
    """One measured number beside what it should be."""

    name: str
    value: float
    unit: str
    bound: str
    """For example "at most 1.2"; empty if it is only told."""


@dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    models: dict[str, Path]
    """By name, for example the precision."""
    checkpoint: Path | None
    """Of the seed recipe, for the seed's way; None leaves that row out."""
    source: Path | None
    """A CT to make the scan from; None: the phantom."""
    small: Path | None
    """A small scan for the time to the first result; None leaves that row out."""
    folder: Path
    """For scans and masks."""
    slices: int = 300
    many_slices: int = 1000
    runs: int = 5
    provider: str = "cpu"

    def measure(self) -> list[Figure]:
        """All figures, about five minutes per model on two cores."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scan = self._scan(self.slices)
        figures = []
        for name, model in self.models.items():
            for step in (self._against_seed, self._against_floor, self._two_scans, self._memory):
                figures += self._told(step(name, model, scan))
        return figures + self._told(self._start(next(iter(self.models.values()))))

    def infer(self, model: Path, *scans: Path) -> list[str]:
        """Arguments of the interpreter that segment scans anew."""
        names = [str(scan) for scan in scans]
        where = ["-o", str(self.folder / "masks"), "--force", "--quiet"]
        return ["-c", _INFER, *names, "-m", str(model), *where, "--provider", self.provider]

    def _scan(self, slices: int) -> Path:
        """Made in a process of its own: Linux counts a parent's memory as its children's peak."""
        path = self.folder / f"ct-{slices}.nii.gz"
        if not path.exists():
            source = [] if self.source is None else [str(self.source)]
            run(["-m", "lits_tools.benchmark.scan", str(path), str(slices), *source])
        return path

    def _told(self, figures: Sequence[Figure]) -> list[Figure]:
        for figure in figures:
            logger.info("%s", line(figure))
        return list(figures)

    def _against_seed(self, name: str, model: Path, scan: Path) -> list[Figure]:
        if self.checkpoint is None:
            return []
        mask = str(self.folder / "seed_mask.nii.gz")
        seed = ["-m", "lits_tools.benchmark.baseline", str(self.checkpoint), str(scan), mask]
        runs = in_turn({"seed": seed, "ours": self.infer(model, scan)}, self.runs)
        least = 6.2 if name == "int8" else 5.5
        return [
            Figure(f"{name}: seed's way", median_seconds(runs["seed"]), "s", ""),
            Figure(f"{name}: seed's way, peak memory", _peak_mb(runs["seed"]), "MB", ""),
            Figure(f"{name}: lits-infer, {self.slices} slices", _s(runs["ours"]), "s", ""),
            Figure(
                f"{name}: times faster than the seed's way",
                median_ratio(runs["seed"], runs["ours"]),
                "",
                f"at least {least}",
            ),
        ]

    def _against_floor(self, name: str, model: Path, scan: Path) -> list[Figure]:
        commands = {
            "ours": self.infer(model, scan),
            "session": ["-c", _SESSION, str(scan), str(model), self.provider],
            "gzip": ["-c", _DECOMPRESS, str(scan)],
            "imports": ["-c", _IMPORTS],
        }
        runs = in_turn(commands, self.runs)
        spent: dict[str, Callable[[Run], float]] = {
            "session": lambda told: float(told.output.split()[-1]),
            "gzip": lambda told: float(told.output.split()[-1]),
            "imports": lambda told: told.seconds,
        }
        parts = {part: [of(told) for told in runs[part]] for part, of in spent.items()}
        floors = [sum(turn) for turn in zip(*parts.values(), strict=True)]
        ratios = [ours.seconds / floor for ours, floor in zip(runs["ours"], floors, strict=True)]
        figures = [
            Figure(f"{name}: floor, {part}", _middle(seconds), "s", "")
            for part, seconds in parts.items()
        ]
        ratio = Figure(f"{name}: whole process over its floor", _middle(ratios), "", "at most 1.2")
        return [*figures, ratio]

    def _two_scans(self, name: str, model: Path, scan: Path) -> list[Figure]:
        twin = self.folder / f"twin-{scan.name}"
        if not twin.exists():
            twin.hardlink_to(scan)
        runs = in_turn(
            {"two": self.infer(model, scan, twin), "one": self.infer(model, scan)}, self.runs
        )
        ratio = median_ratio(runs["two"], runs["one"])
        return [Figure(f"{name}: two scans over one", ratio, "", "less than 1.9")]

    def _memory(self, name: str, model: Path, scan: Path) -> list[Figure]:
        many = self._scan(self.many_slices)
        few, lots = (run(self.infer(model, path)).peak_mb for path in (scan, many))
        return [
            Figure(f"{name}: peak memory, {self.slices} slices", few, "MB", "at most 220"),
            Figure(
                f"{name}: peak memory, {self.many_slices} slices over that",
                lots / few,
                "",
                "at most 1.1",
            ),
        ]

    def _start(self, model: Path) -> list[Figure]:
        commands: dict[str, Sequence[str]] = {"help": ["-c", _INFER, "--help"]}
        commands["import"] = ["-X", "importtime", "-c", "import lits_runtime"]
        if self.small is not None:
            commands["small"] = self.infer(model, self.small)
        runs = in_turn(commands, max(self.runs, 9))
        imported = [
            float(told.output.splitlines()[-1].split("|")[1]) / 1e6 for told in runs["import"]
        ]
        figures = [
            Figure("lits-infer --help", _s(runs["help"]), "s", "at most 0.25"),
            Figure("import lits_runtime", _middle(imported), "s", "less than 0.15"),
        ]
        if self.small is not None:
            seconds = _s(runs["small"])
            figures.append(Figure(f"{self.small.name}, whole process", seconds, "s", "at most 1.2"))
        return figures


def line(figure: Figure) -> str:
    """One row of the table."""
    return f"{figure.name:52} {figure.value:9.3f} {figure.unit:3} {figure.bound}".rstrip()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from lits_runtime.system.processors import usable_processors
    from lits_runtime.system.versions import versions

    return {
        "machine": platform.machine(),
        "processors": usable_processors(),
        "python": platform.python_version(),
        "versions": versions(),
    }


_s = median_seconds


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _peak_mb(runs: Sequence[Run]) -> float:
    return max(told.peak_mb for told in runs)
