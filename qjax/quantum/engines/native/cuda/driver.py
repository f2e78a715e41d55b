"""The function that XLA calls for a GPU: it launches a kernel on XLA's stream, once or several times.

Its one attribute is a list of integers, for each launch: blocks, threads of a block, bytes of the memory that they
share, and then what `Launch` says. The kernel gets the addresses of operands and results, and the latter.
"""

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, Arithmetic, Code, Value, int32, int64
from qjax.quantum.engines.native.ir.xla_call import (
    API_ERROR_CREATE,
    API_STREAM_GET,
    ARRAY_DATA,
    ARRAY_SIZE,
    BUFFER_DATA,
    FRAME_API,
    FRAME_ARGUMENTS,
    FRAME_ATTRIBUTES,
    FRAME_CONTEXT,
    FRAME_RESULTS,
    answer_version,
)
from qjax.quantum.engines.native.table.layout import Launch

GRID, BLOCK, MEMORY, NUM_SIZES = 0, 1, 2, 3
# A launch may be recorded and repeated, by XLA's word for it (XLA_FFI_HANDLER_TRAITS_COMMAND_BUFFER_COMPATIBLE).
_TRAITS = 1
_INTERNAL_ERROR = 13
_BUFFER_POINTER, _BUFFER_SIZE = 1, 2  # of CUDA: what follows in the list of cuLaunchKernel


def write_handler(num_arguments: int, num_results: int, launch: int, kernel: int) -> ir.Module:
    """Returns the module of the function.

    Args:
      num_arguments: of the kernel that are operands.
      num_results: likewise.
      launch: address of cuLaunchKernel.
      kernel: the kernel's handle.
    """
    module = ir.Module("qjax_launch")
    code = Code(module, "handler", POINTER, [POINTER], Arithmetic(ir.FloatType()))
    b, frame = code.builder, code.arguments[0]
    answer_version(code, frame, _TRAITS)
    api = code.load_pointer(frame, FRAME_API)
    stream, failed = _stream(code, frame, api)
    with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(failed, INT64), int64(0))):
        b.ret(failed)
    attribute = code.load_pointer(code.load_pointer(frame, FRAME_ATTRIBUTES), 0)
    sizes = code.load_pointer(attribute, ARRAY_DATA)
    count = num_arguments + num_results + len(Launch)
    words = _words(code, count)
    arrays = ((FRAME_ARGUMENTS, num_arguments, 0), (FRAME_RESULTS, num_results, num_arguments))
    for place, number, first in arrays:
        array = code.load_pointer(frame, place)
        for k in range(number):
            code.store_int64(code.load_int64(code.load_pointer(array, k), BUFFER_DATA), words, first + k)
    size, extra = _words(code, 1), _words(code, 5)
    code.store_int64(int64(8 * count), size, 0)
    listed = (
        int64(_BUFFER_POINTER),
        b.ptrtoint(words, INT64),
        int64(_BUFFER_SIZE),
        b.ptrtoint(size, INT64),
        int64(0),
    )
    for k, value in enumerate(listed):
        code.store_int64(value, extra, k)
    kinds = [POINTER, *[INT32] * 7, POINTER, POINTER, POINTER]
    function = b.inttoptr(int64(launch), ir.FunctionType(INT32, kinds).as_pointer())
    one, nothing = int32(1), ir.Constant(POINTER, None)
    handle = b.inttoptr(int64(kernel), POINTER)
    length = NUM_SIZES + len(Launch)
    with code.loop(b.udiv(code.load_int64(attribute, ARRAY_SIZE), int64(length))) as loop:
        own = b.gep(sizes, [b.mul(loop.index, int64(4 * length))])
        for fact in Launch:
            value = b.sext(code.load_int32(own, NUM_SIZES + fact), INT64)
            code.store_int64(value, words, num_arguments + num_results + fact)
        grid, block, memory = (code.load_int32(own, place) for place in (GRID, BLOCK, MEMORY))
        status = b.call(function, [handle, grid, one, one, block, one, one, memory, stream, nothing, extra])
        with b.if_then(b.icmp_signed("!=", status, int32(0))):
            b.ret(_error(code, api))
    b.ret(nothing)
    return module


def _words(code: Code, count: int) -> Value:
    """Returns room for so many words of 8 bytes."""
    return code.builder.bitcast(code.builder.alloca(ir.ArrayType(INT64, count)), POINTER)


def _ask(code: Code, api: Value, place: int, request: Value) -> Value:
    """Returns what a function of XLA's table answers."""
    kind = ir.FunctionType(POINTER, [POINTER]).as_pointer()
    return code.builder.call(code.builder.inttoptr(code.load_int64(api, place), kind), [request])


def _stream(code: Code, frame: Value, api: Value) -> tuple[Value, Value]:
    """Returns the stream, and an error where there is none."""
    request = _words(code, 4)
    for k, value in enumerate((int64(32), int64(0), code.load_int64(frame, FRAME_CONTEXT), int64(0))):
        code.store_int64(value, request, k)
    failed = _ask(code, api, API_STREAM_GET, request)
    return code.load_pointer(request, 3), failed


def _error(code: Code, api: Value) -> Value:
    """Returns the error that CUDA did not launch the kernel."""
    b, text = code.builder, b"qjax: CUDA did not launch the kernel of a circuit\0"
    message = ir.GlobalVariable(code.module, ir.ArrayType(ir.IntType(8), len(text)), "message")
    message.initializer, message.global_constant = ir.Constant(message.type.pointee, bytearray(text)), True
    request = _words(code, 4)
    for k, value in enumerate((int64(28), int64(0), b.ptrtoint(message, INT64), int64(_INTERNAL_ERROR))):
        code.store_int64(value, request, k)
    return _ask(code, api, API_ERROR_CREATE, request)
