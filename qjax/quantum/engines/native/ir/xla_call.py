"""How XLA calls a function: where operands, results and its own functions are.

The layout is that of `xla/ffi/api/c_api.h`, whose major version is `API_MAJOR`. Places are in words of 8 bytes.
"""

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, Code, Value, int32, int64

API_MAJOR, API_MINOR = 0, 3
# Of the call frame, its buffers, its first attribute, and the table of functions.
FRAME_EXTENSION, FRAME_API, FRAME_CONTEXT, FRAME_ARGUMENTS, FRAME_RESULTS, FRAME_ATTRIBUTES = 1, 2, 3, 9, 14, 20
BUFFER_DATA, BUFFER_SHAPE, ARRAY_SIZE, ARRAY_DATA = 3, 5, 1, 2
API_ERROR_CREATE, API_STREAM_GET, API_SCHEDULE = 6, 10, 17
METADATA_EXTENSION = 1


def answer_version(code: Code, frame: Value, traits: int = 0) -> None:
    """XLA asks a function for its version, in a call of its own, before it calls it."""
    b = code.builder
    extension = code.load_pointer(frame, FRAME_EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(extension, INT64), int64(0))):
        asks = b.icmp_signed("==", code.load_int32(extension, 2), int32(METADATA_EXTENSION))
        with b.if_then(asks):
            metadata = code.load_pointer(extension, 3)
            for place, value in ((24, API_MAJOR), (28, API_MINOR), (32, traits)):
                b.store(int32(value), code.at(metadata, int64(place), INT32))
            b.ret(ir.Constant(POINTER, None))
