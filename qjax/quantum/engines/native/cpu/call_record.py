"""What the threads share that work on one call of the native code of a CPU."""

from enum import IntEnum

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT64, POINTER, VOID, Code, Value, int64
from qjax.quantum.engines.native.ir.xla_call import API_SCHEDULE, FRAME_API, FRAME_CONTEXT
from qjax.quantum.engines.native.table.layout import Call


def schedule_workers(
    code: Code, frame: Value, record: Value, worker: ir.Function, references: IntEnum = Call.REFERENCES
) -> None:
    """Asks XLA's threads to work, too. One that comes too late finds no share left, and does nothing."""
    b = code.builder
    kind = ir.FunctionType(POINTER, [POINTER])
    schedule = b.inttoptr(code.load_int64(code.load_pointer(frame, FRAME_API), API_SCHEDULE), kind.as_pointer())
    request = b.bitcast(b.alloca(ir.ArrayType(INT64, 5)), POINTER)
    count = b.sub(code.load_int64(record, references), int64(2))
    with code.loop(count):
        words = (int64(40), int64(0), code.load_int64(frame, FRAME_CONTEXT))
        for place, value in enumerate((*words, b.ptrtoint(worker, INT64), b.ptrtoint(record, INT64))):
            code.store_int64(value, request, place)
        error = b.call(schedule, [request])
        with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(error, INT64), int64(0))):  # then this thread does it all
            change(code, record, references, -1)


def change(code: Code, record: Value, place: IntEnum, by: int) -> Value:
    """Adds to a counter that the workers share; returns what it was."""
    return code.builder.atomic_rmw("add", code.at(record, int64(8 * place), INT64), int64(by), "seq_cst")


def release(code: Code, record: Value, references: IntEnum = Call.REFERENCES) -> None:
    """Gives the record up; the last one frees it."""
    last = code.builder.icmp_signed("==", change(code, record, references, -1), int64(1))
    with code.builder.if_then(last):
        code.builder.call(code.external("free", VOID, [POINTER]), [record])
