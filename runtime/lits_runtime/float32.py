"""A float16 model computed in float32, for the CPU: rewritten in memory, without onnx.

ONNX Runtime has no float16 kernels for x86: it casts around every convolution, and writes each Relu
as a Max that nothing fuses, which makes a float16 file a fifth slower than its float32 twin and
slower to open. A file whose weights and casts all say float32 is such a twin.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from lits_runtime.graph_reader import MAX_FIELDS
from lits_runtime.wire import Field, Pieces, WireReader, damaged, encoded, packed_varints

FLOAT, FLOAT16 = 1, 10
"""TensorProto.DataType."""
_TYPED = (b"Cast", b"Constant", b"ConstantOfShape")
"""Operators whose attributes name a type or hold a tensor."""


def in_float32(content: bytes) -> bytes:
    """The model with every float16 tensor and cast in float32, if it computes in float16 at all.

    Args:
        content: of a file that `model_file.check` has passed.

    Returns:
        The given content itself, if nothing in it is cast to float16.

    Raises:
        ModelError: the file is damaged in a way that the check does not see.
    """
    rewriter = _Rewriter()
    return rewriter.model(content) if rewriter.casts(content) else content


class _Rewriter:
    """Rewrites one message within the other; field numbers are those of onnx.proto."""

    def __init__(self) -> None:
        self._wire = WireReader(2 * MAX_FIELDS)

    def casts(self, content: bytes) -> bool:
        """Whether activations are cast to float16: weights alone may be stored so.

        Known before anything is rewritten, which copies the whole file.
        """
        graphs = self._messages(memoryview(content), 7)
        return any(self._casts(node) for graph in graphs for node in self._messages(graph, 1))

    def _casts(self, node: memoryview) -> bool:
        fields: list[Field] = list(self._wire.fields(node))
        return _is_cast(fields) and any(
            _to_float16(dict(self._wire.fields(_bytes(value))))
            for number, value in fields
            if number == 5
        )

    def _messages(self, message: memoryview, wanted: int) -> Iterator[memoryview]:
        return (_bytes(v) for number, v in self._wire.fields(message) if number == wanted)

    def model(self, content: bytes) -> bytes:
        fields = self._wire.fields(memoryview(content))
        return b"".join(encoded((at, self._graph(_bytes(v)) if at == 7 else v) for at, v in fields))

    def _graph(self, message: memoryview) -> Pieces:
        parts = {1: self._node, 5: self._tensor}
        return encoded(
            (number, parts[number](_bytes(value)) if number in parts else value)
            for number, value in self._wire.fields(message)
            if number != 13  # types of values in between, which are no longer true
        )

    def _node(self, message: memoryview) -> Pieces:
        fields: list[Field] = list(self._wire.fields(message))
        if not any(number == 4 and value in _TYPED for number, value in fields):
            return [message]
        cast = _is_cast(fields)
        return encoded(
            (number, self._attribute(_bytes(value), cast) if number == 5 else value)
            for number, value in fields
        )

    def _attribute(self, message: memoryview, cast: bool) -> Pieces:
        fields: dict[int, int | bytes | memoryview] = dict(self._wire.fields(message))
        if cast and _to_float16(fields):
            return encoded((fields | {3: FLOAT}).items())
        if 5 in fields:
            return encoded((fields | {5: self._tensor(_bytes(fields[5]))}).items())
        return [message]  # its other fields may be of kinds that `encoded` does not write

    def _tensor(self, message: memoryview) -> Pieces:
        fields = list(self._wire.fields(message))
        if (2, FLOAT16) not in fields:
            return [message]
        bits: list[bytes | memoryview] = []
        kept: list[Field] = []
        for number, value in fields:
            if number == 9:
                bits.append(_bytes(value))
            elif number == 5:
                listed = [value] if isinstance(value, int) else packed_varints(value, len(value))
                bits.append(np.array([number & 0xFFFF for number in listed], "<u2").tobytes())
            elif number != 2:
                kept.append((number, value))
        stored = bits[0] if len(bits) == 1 else b"".join(bits)
        values = np.frombuffer(stored, "<f2").astype("<f4")
        return encoded([*kept, (2, FLOAT), (9, values.view(np.uint8).data)])


def _is_cast(node: list[Field]) -> bool:
    return any(number == 4 and value == b"Cast" for number, value in node)


def _to_float16(attribute: Mapping[int, int | bytes | memoryview]) -> bool:
    return attribute.get(1) == b"to" and attribute.get(3) == FLOAT16


def _bytes(value: int | bytes | memoryview) -> memoryview:
    if isinstance(value, int):
        raise damaged(f"the number {value} in place of a message")
    return memoryview(value)
