"""The distance of a model's liver search: the largest at which no Dice of any given case falls.

    python -m lits_tools.bundled.choose_search MODEL FOLDER...

Each case is segmented once, without a search; what a search would leave of its labels follows.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from lits_runtime.cleanup.clean_up import cleaned_up
from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE, EXISTING_FOLDER
from lits_runtime.errors import DatasetError
from lits_runtime.labels import MASKS
from lits_runtime.model.metadata import Postprocessing
from lits_runtime.segment.options import Options
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.segment.slabs.liver_search import searched, slices_looked_at
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.label_volume import read_labels
from lits_tools.scores.overlap import overlap

DISTANCES_MM = (10.0, 15.0, 20.0, 25.0, 30.0, 40.0)
MOST_FALL = 0.001
"""Of the Dice of one class in one case."""


@dataclass(frozen=True)
class Effect:
    """What a search changes in one case."""

    case: str
    search_mm: float
    looked_at: float
    """Share of the slices that the model sees."""
    changed_voxels: int
    """Before the model's post-processing."""
    fall: dict[str, float]
    """By class, of the Dice after post-processing; negative where it rises."""

    @property
    def harmless(self) -> bool:
        """Whether no Dice falls by more than `MOST_FALL`."""
        return max(self.fall.values()) <= MOST_FALL


def effects(
    segmenter: Segmenter,
    cases: Iterable[tuple[Path, Path]],
    distances_mm: Sequence[float] = DISTANCES_MM,
) -> Iterator[Effect]:
    """The effect of each distance on each case, a CT and its mask."""
    for volume, mask in cases:
        found = segmenter.segment(volume, Options(search=False, postprocessing=False))
        geometry, steps = found.geometry, segmenter.metadata.postprocessing
        labels = np.ascontiguousarray(geometry.to_canonical(found.labels))
        reference = read_labels(mask).labels
        before = _dice(_processed(labels, geometry, steps), reference)
        for search_mm in distances_mm:
            left = searched(labels, geometry, search_mm)
            after = _dice(_processed(left, geometry, steps), reference)
            yield Effect(
                case=volume.name,
                search_mm=search_mm,
                looked_at=slices_looked_at(labels, geometry, search_mm) / len(labels),
                changed_voxels=int(np.count_nonzero(left != labels)),
                fall={name: before[name] - after[name] for name in segmenter.metadata.classes},
            )


def choose_search(found: Iterable[Effect]) -> float:
    """The largest distance up to which every one is harmless in every case; 0 if none is.

    >>> def effect(search_mm, fall):
    ...     return Effect("a", search_mm, 1.0, 0, {"liver": fall})
    >>> choose_search([effect(10, 0.0), effect(20, 0.0005), effect(30, 0.002), effect(40, 0.0)])
    20
    """
    chosen = 0.0
    for effect in sorted(found, key=lambda effect: (effect.search_mm, effect.harmless)):
        if not effect.harmless:
            break
        chosen = effect.search_mm
    return chosen


def table(found: Sequence[Effect]) -> str:
    """One row for each distance, in Markdown, over all cases."""
    lines = ["| mm | slices looked at | voxels changed | cases changed | largest fall of Dice |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for search_mm in sorted({effect.search_mm for effect in found}):
        here = [effect for effect in found if effect.search_mm == search_mm]
        share = sum(effect.looked_at for effect in here) / len(here)
        changed = [effect.changed_voxels for effect in here]
        fall = max(max(effect.fall.values()) for effect in here)
        lines.append(
            f"| {search_mm:g} | {100 * share:.0f} % | {sum(changed)} | "
            f"{np.count_nonzero(changed)} of {len(here)} | {fall:.4f} |"
        )
    return "\n".join(lines)


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The volumes of a folder in LiTS's naming, with their masks.

    Raises:
        DatasetError: there is none.
    """
    found = [
        (volume, volume.with_name(volume.name.replace("volume", "segmentation", 1)))
        for volume in sorted(folder.glob("volume-*.nii*"))
    ]
    if not found:
        raise DatasetError(f"{folder}: no volume-*.nii or volume-*.nii.gz")
    return found


def _processed(
    labels: NDArray[np.uint8], geometry: Geometry, steps: Postprocessing
) -> NDArray[np.uint8]:
    """Labels after the model's post-processing."""
    done = np.empty_like(labels)
    with closing(cleaned_up(iter([(0, labels)]), geometry, steps)) as slabs:
        for start, slab in slabs:
            done[start : start + len(slab)] = slab
    return done


def _dice(labels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[str, float]:
    return {name: overlap(mask(labels), mask(reference)).dice for name, mask in MASKS.items()}


@click.command(cls=Command)
@click.argument("model", type=EXISTING_FILE)
@click.argument("folder", nargs=-1, required=True, type=EXISTING_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print every case on one JSON line.")
@shared_options
def main(model: Path, folder: tuple[Path, ...], as_json: bool) -> None:
    """Choose the search distance of MODEL on the cases of each FOLDER, none of its training."""
    cases = [pair for each in folder for pair in pairs(each)]
    found: list[Effect] = []
    with Segmenter.open(model, provider="auto") as segmenter:
        for effect in effects(segmenter, cases):
            found.append(effect)
            if as_json:
                click.echo(json.dumps(asdict(effect)))
    if not as_json:
        click.echo(table(found))
    click.echo(f"search_mm: {choose_search(found):g}", err=as_json)


if __name__ == "__main__":
    main()
