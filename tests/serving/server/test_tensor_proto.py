from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.server.errors import ErrorCode, ServingError
from serving.server.tensor_proto import fill_proto, tensor_from_proto

MEBIBYTE = 2**20


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([[True], [False]]),
        np.array([1, -2]),
        np.array([b"a\x00", b""], object),
        np.array([], np.float32),
        np.array([1, 2], np.uint16),
    ],
)
def test_what_is_written_is_read_again(array: np.ndarray) -> None:
    proto = TensorProto()
    fill_proto(proto, array)
    found = tensor_from_proto("image", proto, MEBIBYTE)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_answers_are_in_the_field_that_clients_read() -> None:
    proto = TensorProto()
    fill_proto(proto, np.array([0.5, 1], np.float32))
    assert (list(proto.float_val), proto.tensor_content) == ([0.5, 1.0], b"")


def test_both_forms_of_content_are_read() -> None:
    content = tf.make_tensor_proto(np.array([1, 2], np.float32))
    assert content.tensor_content
    values = TensorProto(dtype=content.dtype, tensor_shape=content.tensor_shape, float_val=[1, 2])
    for proto in (content, values):
        np.testing.assert_array_equal(tensor_from_proto("image", proto, MEBIBYTE), [1, 2])


def proto_of(dtype: int, sizes: list[int], **fields: Any) -> TensorProto:
    proto = TensorProto(dtype=dtype, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


FLOAT, STRING = tf.float32.as_datatype_enum, tf.string.as_datatype_enum


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (proto_of(99, [1]), "there is no type 99"),
        (proto_of(0, [1]), "there is no type 0"),
        (proto_of(tf.resource.as_datatype_enum, [1]), "there is no type 20"),
        (proto_of(tf.uint8.as_datatype_enum, [1], int_val=[300]), "tensor parsing error: image"),
        (proto_of(FLOAT, [-1]), r"its shape is \[-1\], but each size has to be known"),
        (proto_of(FLOAT, [2**40], float_val=[1]), "takes more than 1,048,576 bytes"),
        (proto_of(STRING, [2**40], string_val=[b"a"]), "takes more than 1,048,576 bytes"),
        (proto_of(FLOAT, [2], tensor_content=b"123"), "3 bytes of tensor_content are no float32 of shape"),
        (proto_of(STRING, [2], tensor_content=b"123"), "3 bytes of tensor_content are no string of shape"),
        (proto_of(FLOAT, [2], float_val=[1, 2, 3]), "tensor parsing error: image"),
        (proto_of(STRING, [1], string_val=[b"a", b"b"]), "tensor parsing error: image"),
    ],
)
def test_what_does_not_fit_together_is_refused(proto: TensorProto, message: str) -> None:
    with pytest.raises(ServingError, match=message) as raised:
        tensor_from_proto("image", proto, MEBIBYTE)
    assert raised.value.code is ErrorCode.INVALID_ARGUMENT


def test_an_unknown_rank_is_refused() -> None:
    proto = proto_of(FLOAT, [])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ServingError, match="each size has to be known"):
        tensor_from_proto("image", proto, MEBIBYTE)
