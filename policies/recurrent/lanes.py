"""Vectors of a compile-time number of lanes as values in compiled functions, with the few operations the kernels need.

How many lanes is said by the length of a tuple, which is part of its type. Indices are not checked and never count
from the end. Sums may be reordered. Numba's cache of compiled functions watches the file of a kernel alone, so that
`kernels` names the version of this file, which a test compares.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

_intrinsic: Callable[..., Any] = intrinsic
_FLAGS = ("reassoc", "contract")
_INT64 = types.int64


class Lanes(types.Type):
    """The type of a vector.

    :param dtype: numba's float32 or float64
    :param count: number of lanes
    """

    def __init__(self, dtype: Any, count: int) -> None:
        super().__init__(f"Lanes({dtype}, {count})")
        self.dtype, self.count = dtype, count


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        vector = ir.VectorType(manager.lookup(lanes.dtype).get_value_type(), lanes.count)
        super().__init__(manager, lanes, vector)


@_intrinsic
def load(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Return array[index : index + L] of a contiguous array, flattened, as a vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args), align=array.dtype.bitwidth // 8)

    return Lanes(array.dtype, lanes.count)(array, _INT64, lanes), generate


@_intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to array[index : index + L] of a contiguous array, flattened."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, _INT64, vector), generate


@_intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Begin to bring array[index] of a contiguous array, flattened, into the caches."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], function_type)
        reads, all_levels, data_cache = number(0), number(3), number(1)
        place = builder.bitcast(builder.gep(data, [args[1]]), pointer)
        builder.call(function, [place, reads, all_levels, data_cache])
        return context.get_dummy_value()

    return types.void(array, _INT64), generate


@_intrinsic
def broadcast(typing: Any, scalar: Any, lanes: Any) -> Any:
    """Return a vector of equal lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _broadcast(builder, args[0], lanes.count)

    return Lanes(scalar, lanes.count)(scalar, lanes), generate


@_intrinsic
def add(typing: Any, left: Any, right: Any) -> Any:
    """Return left + right."""
    return left(left, right), lambda context, builder, signature, args: builder.fadd(*args, flags=_FLAGS)


@_intrinsic
def multiply(typing: Any, left: Any, right: Any) -> Any:
    """Return left * right, lane by lane."""
    return left(left, right), lambda context, builder, signature, args: builder.fmul(*args, flags=_FLAGS)


@_intrinsic
def multiply_add(typing: Any, scalar: Any, vector: Any, total: Any) -> Any:
    """Return total + scalar * vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(_broadcast(builder, args[0], vector.count), args[1], flags=_FLAGS)
        return builder.fadd(args[2], product, flags=_FLAGS)

    return total(vector.dtype, vector, total), generate


@_intrinsic
def zero_unless_positive(typing: Any, vector: Any, condition: Any) -> Any:
    """Return the vector, with zero in those lanes in which the condition is zero or less; NaN is neither."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[1], zero), zero, args[0])

    return vector(vector, condition), generate


@_intrinsic
def interleave(typing: Any, left: Any, right: Any) -> Any:
    """Return left[0], right[0], left[1], right[1], …; three rounds of it transpose eight vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        order = [
            lane for pair in zip(range(left.count), range(left.count, 2 * left.count), strict=True) for lane in pair
        ]
        return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))

    return Lanes(left.dtype, 2 * left.count)(left, right), generate


@_intrinsic
def add_lanes(typing: Any, start: Any, vector: Any) -> Any:
    """Return start plus the sum of all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar, lanes = args[0].type, args[1].type
        name = f"llvm.vector.reduce.fadd.v{vector.count}f{vector.dtype.bitwidth}"
        reduce = builder.module.declare_intrinsic(name, (), ir.FunctionType(scalar, [scalar, lanes]))
        return builder.call(reduce, args, fastmath=_FLAGS)

    return vector.dtype(vector.dtype, vector), generate


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array, vector = signature.args[0], signature.return_type
    vector = vector if isinstance(vector, Lanes) else signature.args[2]
    data = context.make_array(array)(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), context.get_value_type(vector).as_pointer())


def _broadcast(builder: Any, scalar: Any, count: int) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count))
