"""A float16 model computed in float32, for the CPU: rewritten in memory, without onnx.

ONNX Runtime has no float16 kernels for x86: it casts around every convolution, and writes each Relu
as a Max that nothing fuses, which makes a float16 file a fifth slower than its float32 twin and
slower to open. A file whose weights and casts all say float32 is such a twin.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from lits_runtime.model.onnx_graph import MAX_FIELDS
from lits_runtime.model.protobuf import Field, Pieces, WireReader, damaged, encoded, packed_varints

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
    rewriter = _Rewriter(content)
    return rewriter.model() if rewriter.casts() else content


class _Rewriter:
    """Rewrites one message within the other; field numbers are those of onnx.proto.

    All tensors are converted at once, at the end: numpy lets go of the interpreter's lock for each,
    and where another thread imports modules, the way back takes longer than the tensor.
    """

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._wire = WireReader(2 * MAX_FIELDS)
        self._float16: list[bytes | memoryview] = []
        self._float32 = np.empty(0, "<f4")
        """Of all tensors; messages hold views of it before it is filled."""
        self._filled = 0

    def casts(self) -> bool:
        """Whether activations are cast to float16: weights alone may be stored so.

        Known before anything is rewritten, which copies the whole file.
        """
        graphs = self._messages(self._content, 7)
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

    def model(self) -> bytes:
        self._float32 = np.empty(len(self._content), "<f4")  # room enough, whatever is listed how
        fields = self._wire.fields(self._content)
        pieces = encoded((at, self._graph(_bytes(v)) if at == 7 else v) for at, v in fields)
        self._float32[: self._filled] = np.frombuffer(b"".join(self._float16), "<f2")
        return b"".join(pieces)

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
        began = self._filled
        kept: list[Field] = []
        for number, value in fields:
            if number == 9:
                self._take(_bytes(value))
            elif number == 5:
                listed = [value] if isinstance(value, int) else packed_varints(value, len(value))
                self._take(np.array([number & 0xFFFF for number in listed], "<u2").tobytes())
            elif number != 2:
                kept.append((number, value))
        values = self._float32[began : self._filled]
        rewritten: list[Field] = [*kept, (2, FLOAT), (9, values.view(np.uint8).data)]
        return encoded(sorted(rewritten, key=lambda entry: entry[0]))  # as protobuf writes them

    def _take(self, float16: bytes | memoryview) -> None:
        if len(float16) % 2:
            raise damaged(f"{len(float16)} bytes of float16")
        self._float16.append(float16)
        self._filled += len(float16) // 2


def _is_cast(node: list[Field]) -> bool:
    return any(number == 4 and value == b"Cast" for number, value in node)


def _to_float16(attribute: Mapping[int, int | bytes | memoryview]) -> bool:
    return attribute.get(1) == b"to" and attribute.get(3) == FLOAT16


def _bytes(value: int | bytes | memoryview) -> memoryview:
    if isinstance(value, int):
        raise damaged(f"the number {value} in place of a message")
    return memoryview(value)
