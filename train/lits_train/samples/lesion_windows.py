"""Windows around lesions: the parts of a batch in which these are painted together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lits_train.samples.lesion_properties import Lesion
from lits_train.samples.random_numbers import RandomNumbers


@dataclass(frozen=True)
class Slabs:
    """The arrays of n samples."""

    hu: Tensor
    """float32 (n, slices, height, width)."""
    labels: Tensor
    """uint8, the same shape; lesions are painted into its liver."""
    shares: Tensor
    """uint8 (n, 2, height, width): fractions of liver and lesion in the middle slice, in 255ths."""


class Windows:
    """Windows of one size, each around one lesion, of k different samples."""

    def __init__(
        self, samples: Sequence[int], lesions: Sequence[Lesion], slabs: Slabs, rng: RandomNumbers
    ) -> None:
        """Choose the least windows that hold the lesions.

        Args:
            samples: k of those in `slabs`.
            lesions: one for each.
            slabs: what windows will be cut out of.
            rng: of the k samples.
        """
        self.lesions, self.rng = lesions, rng
        self.samples = rng.index(samples)
        height, width = slabs.hu.shape[2:]
        self.rows = rng.index(
            _around([one.row for one in lesions], max(one.rows for one in lesions), height)
        )
        self.columns = rng.index(
            _around([one.column for one in lesions], max(one.columns for one in lesions), width)
        )
        names = list(Lesion.__dataclass_fields__)
        table = np.array([[getattr(one, name) for name in names] for one in lesions])
        properties = rng.copied(table).T[..., None, None, None]
        self._properties = dict(zip(names, properties, strict=True))

    def of(self, name: str) -> Tensor:
        """A property of the lesions, (k, 1, 1, 1)."""
        column: Tensor = self._properties[name]
        return column

    def having(self, name: str) -> list[int]:
        """Which of the k lesions have a property that not all have."""
        return [i for i, lesion in enumerate(self.lesions) if getattr(lesion, name)]

    @property
    def offsets(self) -> tuple[Tensor, Tensor]:
        """Rows (k, 1, h, 1) and columns (k, 1, 1, w) from the lesions' centres, in pixels."""
        rows, columns = self.rows[:, None, :, None], self.columns[:, None, None, :]
        return rows - self.of("row"), columns - self.of("column")

    def cut(self, array: Tensor, samples: Tensor | None = None) -> Tensor:
        """A copy (k, channels, h, w) of the windows of an array (n, channels, height, width).

        Args:
            array: of all samples.
            samples: (k,), where the array's samples are others than those of the slabs.
        """
        return array[self._place(samples)].movedim(-1, 1)

    def put(self, array: Tensor, changed: Tensor) -> None:
        """Replace the windows of an array, in place."""
        array[self._place()] = changed.movedim(1, -1)

    def noise(self, slabs: Slabs) -> Tensor:
        """Standard normal noise (k, slices, h, w), that of a whole slab, whatever the windows."""
        whole = self.rng.normal(*slabs.hu.shape[1:])
        return self.cut(whole, torch.arange(len(whole), device=whole.device))

    def _place(self, samples: Tensor | None = None) -> tuple[Tensor, slice, Tensor, Tensor]:
        """Index of the windows; the axis of the channels comes last."""
        samples = self.samples if samples is None else samples
        rows, columns = self.rows[:, :, None], self.columns[:, None, :]
        return samples[:, None, None], slice(None), rows, columns


def _around(centres: Sequence[int], reach: int, size: int) -> list[list[int]]:
    """Pixels of an axis around each centre, and one more on either side for means over neighbours.

    Where they would leave the axis, they are moved inwards.
    """
    side = min(2 * reach + 3, size)
    starts = (min(max(centre - reach - 1, 0), size - side) for centre in centres)
    return [list(range(start, start + side)) for start in starts]
