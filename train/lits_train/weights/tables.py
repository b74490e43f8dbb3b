"""Tables of the layers of a weight file, for messages."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from lits_runtime.messages import printable
from lits_train.weights.layers import Unit

_WIDEST = 60
_MOST_ROWS = 200
_EXPECTED = (
    "expected, from the encoder's 440 channels on: transposed convolutions (in x out x k x k, k 2 "
    "to 4), convolutions (out x in x k x k, k 1, 3, 5 or 7), batch norm right behind one of them, "
    "and a last convolution with an output channel for each class"
)


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text in columns.

    >>> print(table(("layer", "shape"), [("conv", "1 x 16"), ("up", "2 x 8")]))
    layer  shape
    conv   1 x 16
    up     2 x 8
    """
    cells = [[_cell(text) for text in row] for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def unmatched_table(
    modules: Mapping[str, Mapping[str, Tensor]], units: Sequence[Unit], at: int
) -> str:
    """The layers behind the encoder, how far they were understood, and what was expected.

    Args:
        modules: tensors by module.
        units: the convolutions in the order that was tried.
        at: index of the first that does not fit.
    """
    fitting = {name for unit in units[:at] for name in (unit.name, unit.norm_name)}
    here = units[at].name if at < len(units) else ""
    rows = [
        (name, _shapes(parts), "<- here" if name == here else "fits" if name in fitting else "")
        for name, parts in modules.items()
    ]
    return f"{table(('found', 'shapes', ''), rows[:_MOST_ROWS])}\n{_EXPECTED}"


def _shapes(parts: Mapping[str, Tensor]) -> str:
    return ", ".join(
        f"{leaf} {' x '.join(map(str, tensor.shape)) or '1'}" for leaf, tensor in parts.items()
    )


def _cell(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 3]}..."
