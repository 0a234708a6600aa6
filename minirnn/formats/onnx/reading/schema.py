"""The messages of an ONNX file, as far as they are read (onnx.proto)."""

from minirnn.formats.containers.protobuf import Message, Reader, Schema

ENTRY = Schema("StringStringEntryProto", {1: ("key", "text", False), 2: ("value", "text", False)})
TENSOR = Schema(
    "TensorProto",
    {
        1: ("dims", "int", True),
        2: ("data_type", "int", False),
        4: ("float_data", "floats", True),
        5: ("int32_data", "varints", True),
        6: ("string_data", "bytes", True),
        7: ("int64_data", "varints", True),
        8: ("name", "text", False),
        9: ("raw_data", "bytes", False),
        10: ("double_data", "doubles", True),
        11: ("uint64_data", "varints", True),
        13: ("external_data", ENTRY, True),
        14: ("data_location", "int", False),
    },
)


ATTRIBUTE = Schema(
    "AttributeProto",
    {
        1: ("name", "text", False),
        2: ("f", "float", False),
        3: ("i", "int", False),
        4: ("s", "bytes", False),
        5: ("t", TENSOR, False),
        6: ("g", lambda: GRAPH, False),
        7: ("floats", "float", True),
        8: ("ints", "int", True),
        9: ("strings", "bytes", True),
        10: ("tensors", "bytes", True),
        11: ("graphs", "bytes", True),
        14: ("tp", "bytes", False),
        15: ("type_protos", "bytes", True),
        20: ("type", "int", False),
        21: ("ref_attr_name", "text", False),
        22: ("sparse_tensor", "bytes", False),
        23: ("sparse_tensors", "bytes", True),
    },
)
NODE = Schema(
    "NodeProto",
    {
        1: ("input", "text", True),
        2: ("output", "text", True),
        3: ("name", "text", False),
        4: ("op_type", "text", False),
        5: ("attribute", ATTRIBUTE, True),
        7: ("domain", "text", False),
    },
)
DIMENSION = Schema("Dimension", {1: ("dim_value", "int", False), 2: ("dim_param", "text", False)})
SHAPE = Schema("TensorShapeProto", {1: ("dim", DIMENSION, True)})
TENSOR_TYPE = Schema("TypeProto.Tensor", {1: ("elem_type", "int", False), 2: ("shape", SHAPE, False)})
TYPE = Schema(
    "TypeProto",
    {
        1: ("tensor_type", TENSOR_TYPE, False),
        4: ("sequence_type", "bytes", False),
        5: ("map_type", "bytes", False),
        8: ("sparse_tensor_type", "bytes", False),
        9: ("optional_type", "bytes", False),
    },
)
VALUE = Schema("ValueInfoProto", {1: ("name", "text", False), 2: ("type", TYPE, False)})
GRAPH: Schema = Schema(
    "GraphProto",
    {
        1: ("node", NODE, True),
        2: ("name", "text", False),
        5: ("initializer", TENSOR, True),
        11: ("input", VALUE, True),
        12: ("output", VALUE, True),
        15: ("sparse_initializer", "bytes", True),
    },
)
OPERATOR_SET = Schema("OperatorSetIdProto", {1: ("domain", "text", False), 2: ("version", "int", False)})
MODEL = Schema(
    "ModelProto",
    {
        1: ("ir_version", "int", False),
        2: ("producer_name", "text", False),
        7: ("graph", GRAPH, False),
        8: ("opset_import", OPERATOR_SET, True),
        14: ("metadata_props", ENTRY, True),
    },
)


def parse(data: bytes, schema: Schema = MODEL) -> Message:
    """The message in ``data``: fields by name, those that may come more than once as lists, absent ones left out.

    Raises ModelFileError for what is no whole message, and for more than a reader has room for.
    """
    return Reader(data).message(0, len(data), schema)
