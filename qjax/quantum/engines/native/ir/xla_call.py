"""How XLA calls a native function: the layout of the call frame, which has operands, results and XLA's functions.

The layout is that of `xla/ffi/api/c_api.h`, whose major version is `API_MAJOR`. Offsets are in words of 8 bytes.
"""

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, Code, Value, int32, int64

API_MAJOR, API_MINOR = 0, 3
# Offsets in the call frame, in its buffers and first attribute, and in the table of XLA's functions.
FRAME_EXTENSION, FRAME_API, FRAME_CONTEXT, FRAME_ARGUMENTS, FRAME_RESULTS, FRAME_ATTRIBUTES = 1, 2, 3, 9, 14, 20
BUFFER_DATA, BUFFER_SHAPE, ARRAY_SIZE, ARRAY_DATA = 3, 5, 1, 2
API_ERROR_CREATE, API_STREAM_GET, API_SCHEDULE = 6, 10, 17
METADATA_EXTENSION = 1


def answer_version(code: Code, frame: Value, traits: int = 0) -> None:
    """Writes the code that returns the version: XLA asks for it in a separate call, before all others."""
    b = code.builder
    extension = code.load_pointer(frame, FRAME_EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(extension, INT64), int64(0))):
        asks = b.icmp_signed("==", code.load_int32(extension, 2), int32(METADATA_EXTENSION))
        with b.if_then(asks):
            metadata = code.load_pointer(extension, 3)
            for offset, value in ((24, API_MAJOR), (28, API_MINOR), (32, traits)):
                b.store(int32(value), code.at(metadata, int64(offset), INT32))
            b.ret(ir.Constant(POINTER, None))
