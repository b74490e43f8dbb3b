"""The messages of onnx.proto, with the fields that lits-export writes.

Source of the numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from lits_runtime.model.onnx_file.protobuf import FOUR_BYTES, LENGTH, VARINT, Message

ELSEWHERE = "a tensor stored in another file"
_SPARSE = "sparse tensors"
_SUBGRAPH = "a subgraph (Loop, If, Scan)"

MODEL = Message(
    "ModelProto",  # ir_version, producer_name, producer_version, graph
    once={1: VARINT, 2: LENGTH, 3: LENGTH, 7: LENGTH},
    many={8: LENGTH, 14: LENGTH},  # opset_import, metadata_props
    refused={20: "training graphs", 25: "functions", 26: "device configurations"},
)
GRAPH = Message(
    "GraphProto",  # name
    once={2: LENGTH},
    many={1: LENGTH, 5: LENGTH, 11: LENGTH, 12: LENGTH, 13: LENGTH},
    # node, initializer, input, output, value_info
    refused={15: _SPARSE, 14: "quantisation annotations"},
)
NODE = Message(
    "NodeProto",  # name, op_type, domain
    once={3: LENGTH, 4: LENGTH, 7: LENGTH},
    many={1: LENGTH, 2: LENGTH, 5: LENGTH},  # input, output, attribute
)
ATTRIBUTE = Message(
    "AttributeProto",  # name, f, i, s, type
    once={1: LENGTH, 2: FOUR_BYTES, 3: VARINT, 4: LENGTH, 20: VARINT},
    many={8: VARINT},  # ints
    refused={
        **dict.fromkeys((6, 11), _SUBGRAPH),
        **dict.fromkeys((5, 10), "a tensor in an attribute"),
        **dict.fromkeys((22, 23), _SPARSE),
    },
)
TENSOR = Message(
    "TensorProto",  # data_type, float_data, int32_data, int64_data, name, raw_data, data_location
    once={2: VARINT, 4: LENGTH, 5: LENGTH, 7: LENGTH, 8: LENGTH, 9: LENGTH, 14: VARINT},
    many={1: VARINT},  # dims
    refused={13: ELSEWHERE, 6: "a tensor of strings", 3: "a part of a tensor"},
)
VALUE = Message("ValueInfoProto", once={1: LENGTH, 2: LENGTH})  # name, type
TYPE = Message("TypeProto", once={1: LENGTH})  # tensor_type
TENSOR_TYPE = Message("TypeProto.Tensor", once={1: VARINT, 2: LENGTH})  # elem_type, shape
SHAPE = Message("TensorShapeProto", once={}, many={1: LENGTH})  # dim
DIMENSION = Message("TensorShapeProto.Dimension", once={1: VARINT, 2: LENGTH})  # value or name
OPSET = Message("OperatorSetIdProto", once={1: LENGTH, 2: VARINT})  # domain, version
PROPERTY = Message("StringStringEntryProto", once={1: LENGTH, 2: LENGTH})  # key, value

FLOAT32, UINT8, INT8, INT32, INT64, BOOL, FLOAT16 = 1, 2, 3, 6, 7, 9, 10
ELEMENTS = {
    FLOAT32: ("float32", 4),
    UINT8: ("uint8", 1),
    INT8: ("int8", 1),
    INT32: ("int32", 4),
    INT64: ("int64", 8),
    BOOL: ("bool", 1),
    FLOAT16: ("float16", 2),
}
"""TensorProto.DataType: name and bytes of an element."""
LISTED_RANGE = {
    UINT8: (0, 2**8 - 1),
    INT8: (-(2**7), 2**7 - 1),
    INT32: (-(2**31), 2**31 - 1),
    BOOL: (0, 1),
    FLOAT16: (0, 2**16 - 1),
}
"""Types that are listed in `int32_data` where they are not raw bytes, with their least and largest
value. Protobuf truncates what does not fit; a float16 is listed as the number that its bits are."""
