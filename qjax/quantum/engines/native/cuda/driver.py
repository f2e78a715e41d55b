"""The function that XLA calls for a GPU: it launches a kernel on XLA's stream, once or several times.

Its one attribute is a list of integers. For each launch it holds the number of blocks, the threads of a block, the
bytes of shared memory of a block, and then the words of `Launch`. The kernel gets the addresses of operands and
results, and these words.
"""

from qjax.quantum.engines.native.ir import xla_call
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, Arithmetic, Code, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Launch

GRID, BLOCK, MEMORY, NUM_SIZES = 0, 1, 2, 3
# XLA may record a launch and repeat it (XLA_FFI_HANDLER_TRAITS_COMMAND_BUFFER_COMPATIBLE).
_TRAITS = 1
_INTERNAL_ERROR = 13
# Markers in the list `extra` of cuLaunchKernel (cuda.h): the kernel's arguments follow, or their size does.
_BUFFER_POINTER, _BUFFER_SIZE = 1, 2


def write_handler(num_arguments: int, num_results: int, launch: int, kernel: int) -> ir.Module:
    """Returns the module of the function, given the address of cuLaunchKernel and the kernel's handle."""
    module = ir.Module("qjax_launch")
    code = Code(module, "handler", POINTER, [POINTER], Arithmetic(ir.FloatType()))
    b, frame = code.builder, code.arguments[0]
    xla_call.answer_version(code, frame, _TRAITS)
    api = code.load_pointer(frame, xla_call.FRAME_API)
    stream, failed = _stream(code, frame, api)
    with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(failed, INT64), int64(0))):
        b.ret(failed)
    attribute = code.load_pointer(code.load_pointer(frame, xla_call.FRAME_ATTRIBUTES), 0)
    sizes = code.load_pointer(attribute, xla_call.ARRAY_DATA)
    count = num_arguments + num_results + len(Launch)
    kernel_arguments = _room(code, count)
    arrays = ((xla_call.FRAME_ARGUMENTS, num_arguments, 0), (xla_call.FRAME_RESULTS, num_results, num_arguments))
    for offset, number, first in arrays:
        buffers = code.load_pointer(frame, offset)
        for k in range(number):
            address = code.load_int64(code.load_pointer(buffers, k), xla_call.BUFFER_DATA)
            code.store_int64(address, kernel_arguments, first + k)
    size = _new_words(code, int64(8 * count))
    arguments, size_of_these = (b.ptrtoint(pointer, INT64) for pointer in (kernel_arguments, size))
    extra = _new_words(code, int64(_BUFFER_POINTER), arguments, int64(_BUFFER_SIZE), size_of_these, int64(0))
    kinds = [POINTER, *[INT32] * 7, POINTER, POINTER, POINTER]
    function = b.inttoptr(int64(launch), ir.FunctionType(INT32, kinds).as_pointer())
    one, nothing = int32(1), ir.Constant(POINTER, None)
    handle = b.inttoptr(int64(kernel), POINTER)
    length = NUM_SIZES + len(Launch)
    with code.loop(b.udiv(code.load_int64(attribute, xla_call.ARRAY_SIZE), int64(length))) as loop:
        launch_sizes = b.gep(sizes, [b.mul(loop.index, int64(4 * length))])
        for word in Launch:
            value = b.sext(code.load_int32(launch_sizes, NUM_SIZES + word), INT64)
            code.store_int64(value, kernel_arguments, num_arguments + num_results + word)
        grid, block, memory = (code.load_int32(launch_sizes, word) for word in (GRID, BLOCK, MEMORY))
        status = b.call(function, [handle, grid, one, one, block, one, one, memory, stream, nothing, extra])
        with b.if_then(b.icmp_signed("!=", status, int32(0))):
            b.ret(_error(code, api))
    b.ret(nothing)
    return module


def _room(code: Code, count: int) -> Value:
    """Returns the address of room for `count` words of 8 bytes on the stack."""
    return code.builder.bitcast(code.builder.alloca(ir.ArrayType(INT64, count)), POINTER)


def _new_words(code: Code, *values: Value) -> Value:
    """Returns the address of these words on the stack."""
    words = _room(code, len(values))
    for k, value in enumerate(values):
        code.store_int64(value, words, k)
    return words


def _call_api(code: Code, api: Value, offset: int, request: Value) -> Value:
    """Calls a function of XLA's table with the arguments in `request`, and returns its result."""
    kind = ir.FunctionType(POINTER, [POINTER]).as_pointer()
    return code.builder.call(code.builder.inttoptr(code.load_int64(api, offset), kind), [request])


def _stream(code: Code, frame: Value, api: Value) -> tuple[Value, Value]:
    """Returns the stream that XLA runs on, and an error, which is null where there is a stream."""
    request = _new_words(code, int64(32), int64(0), code.load_int64(frame, xla_call.FRAME_CONTEXT), int64(0))
    failed = _call_api(code, api, xla_call.API_STREAM_GET, request)
    return code.load_pointer(request, 3), failed


def _error(code: Code, api: Value) -> Value:
    """Returns an error of XLA which says that CUDA did not launch the kernel."""
    b, text = code.builder, b"qjax: CUDA did not launch the kernel of a circuit\0"
    message = ir.GlobalVariable(code.module, ir.ArrayType(ir.IntType(8), len(text)), "message")
    message.initializer, message.global_constant = ir.Constant(message.type.pointee, bytearray(text)), True
    request = _new_words(code, int64(28), int64(0), b.ptrtoint(message, INT64), int64(_INTERNAL_ERROR))
    return _call_api(code, api, xla_call.API_ERROR_CREATE, request)
