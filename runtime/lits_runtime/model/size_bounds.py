"""Upper bounds of the sizes of tensors for every slab, from which a graph's cost follows.

A size is at most `fixed + slices * n + rows * height + columns * width` for a slab (n, height,
width). Sizes that a node takes from a tensor, as Resize does, are bounded in the same way if they
are computed from constants and shapes; if from anything else, the graph is refused.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from lits_runtime.model.onnx_file.onnx_messages import ELEMENTS, FLOAT16
from lits_runtime.model.onnx_file.protobuf import refuse

LARGEST_CONSTANT = 2**20
"""Beyond every size and index. Sums of as many of them as a graph has nodes do not overflow int64,
nor does float32 round them by much."""
MAX_RANK = 8


class Size(NamedTuple):
    """An upper bound, which may grow with the slab."""

    fixed: int
    slices: int = 0
    rows: int = 0
    columns: int = 0

    def at(self, slab: tuple[int, int, int]) -> int:
        """The bound for a slab of this shape.

        >>> Size(2, slices=3).at((5, 512, 512))
        17
        """
        n, height, width = slab
        return self.fixed + self.slices * n + self.rows * height + self.columns * width

    @property
    def constant(self) -> bool:
        """Whether it is the same for every slab."""
        return not (self.slices or self.rows or self.columns)


class Known(NamedTuple):
    """What is known about a tensor before anything runs."""

    dims: tuple[Size, ...]
    """An upper bound for each dimension."""
    width: int = 4
    """Bytes of an element, at most."""
    most: tuple[Size, ...] | None = None
    """Upper bounds of the values of a scalar, or of a list of exactly this length."""
    exact: tuple[int, ...] | None = None
    """The values of a constant."""
    products: tuple[Size, ...] = ()
    """Sizes whose product is the number of multiplications for it."""
    scratch: tuple[Size, ...] = ()
    """Sizes whose product, times four, is the memory in bytes that it takes in addition."""


SLAB = Known((Size(0, slices=1), Size(0, rows=1), Size(0, columns=1)))


def constant(dims: Iterable[int], width: int, values: Sequence[int | float] | None) -> Known:
    """A stored tensor."""
    sizes = tuple(map(Size, dims))
    if values is None or len(sizes) > 1 or not all(_plain(value) for value in values):
        return Known(sizes, width)
    exact = tuple(map(int, values))
    return Known(sizes, width, tuple(Size(max(0, value)) for value in exact), exact)


def _plain(value: int | float) -> bool:
    """Whether it is an integer with which no arithmetic of sizes overflows; NaN is not."""
    return abs(value) <= LARGEST_CONSTANT and value == int(value)


def memory_width(kind: int) -> int:
    """Bytes of an element of a TensorProto.DataType in memory.

    Float16 takes as many as float32, in which CPUs compute.

    >>> memory_width(10), memory_width(2)
    (4, 1)
    """
    return 4 if kind == FLOAT16 else ELEMENTS[kind][1]


def unbounded(operator: str, why: str) -> NoReturn:
    """Raise the error for a node whose cost is not bounded."""
    refuse(f"a {operator} {why}, whose memory and time have no bound")


def larger(*sizes: Size) -> Size:
    """A bound of the largest.

    >>> larger(Size(3), Size(1, rows=2))
    Size(fixed=3, slices=0, rows=2, columns=0)
    """
    return Size(*map(max, *sizes)) if len(sizes) > 1 else sizes[0]


def total(sizes: Iterable[Size]) -> Size:
    """A bound of the sum."""
    return Size(*map(sum, zip(*sizes, strict=True)))


def times(size: Size, factor: int) -> Size:
    """A bound of a multiple."""
    return Size(*(part * factor for part in size))


def broadcast(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    """The shape of tensors combined element by element.

    >>> broadcast([(Size(2), Size(1)), (Size(5),)])[1].fixed
    5
    """
    first = shapes[0]
    if all(dims == first for dims in shapes):
        return first
    rank = max(map(len, shapes))
    padded = [(Size(1),) * (rank - len(dims)) + dims for dims in shapes]
    return tuple(larger(*sizes) for sizes in zip(*padded, strict=True))


def axis_of(operator: str, axis: int, rank: int) -> int:
    """The axis counted from the first.

    Raises:
        ModelError: there is no such axis.
    """
    if not -rank <= axis < rank:
        refuse(f"a {operator} along axis {axis} of {rank}")
    return axis % rank


def elements(sizes: Iterable[Size], slab: tuple[int, int, int]) -> int | None:
    """The product of sizes for a slab; None if it grows faster than the slab's voxels.

    >>> elements([Size(2), Size(0, rows=1)], (1, 512, 512))
    1024
    >>> elements([Size(0, rows=1)] * 3, (1, 512, 512)) is None
    True
    """
    product, along_slices, in_plane = 1, 0, 0
    for fixed, slices, rows, columns in sizes:
        if slices or rows or columns:
            along_slices += slices > 0
            in_plane += rows > 0 or columns > 0
            product *= fixed + slices * slab[0] + rows * slab[1] + columns * slab[2]
        else:
            product *= fixed
    return product if along_slices <= 1 and in_plane <= 2 else None
