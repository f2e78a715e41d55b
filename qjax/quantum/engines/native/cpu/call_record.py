"""What the threads share that work on one call of the native code of a CPU."""

from enum import IntEnum, auto

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT64, POINTER, VOID, Code, Value, int64
from qjax.quantum.engines.native.ir.xla_call import API_SCHEDULE, FRAME_API, FRAME_CONTEXT


class Job(IntEnum):
    """What the workers of a call share, in words of 8 bytes."""

    GATES = 0
    NUM_GATES = auto()
    GATES_BACK = auto()
    NUM_GATES_BACK = auto()
    READ = auto()
    NUM_READ = auto()
    RECIPES = auto()
    NUM_RECIPES = auto()
    CONSTANTS = auto()
    NUM_CONSTANTS = auto()
    ROTATIONS = auto()
    NUM_ROTATIONS = auto()
    FACTORS = auto()
    NUM_FACTORS = auto()
    RECORDS = auto()
    NUM_RECORDS = auto()
    CONTENT = auto()
    NUM_CONTENT = auto()
    NUM_TABLES = auto()
    SHARED = auto()
    NUM_SHARED = auto()
    OWN = auto()
    NUM_OWN = auto()
    VALUES = auto()  # results of the forward pass, or their cotangents
    SHARED_SUMS = auto()
    OWN_SUMS = auto()
    BEGIN = auto()  # states that come before the gates
    NUM_BEGIN = auto()  # rows of it, 0 where they are |0...0>
    END = auto()  # states that come last; of the reverse pass, cotangents of the first ones
    NUM_END = auto()  # rows of it, 0 where they are not wanted
    SCRATCH = auto()
    ROOM = auto()
    QUBITS = auto()
    BATCH = auto()
    TILES = auto()
    STATE = auto()
    NUM_MADE = auto()
    NUM_COMPOSED = auto()
    WORKERS = auto()  # as many as there are shares of the tiles
    NEXT = auto()  # share to be taken next
    DONE = auto()  # shares that are done
    REFERENCES = auto()  # workers that may still look here


def schedule_workers(
    code: Code, frame: Value, job: Value, worker: ir.Function, references: IntEnum = Job.REFERENCES
) -> None:
    """Asks XLA's threads to work, too. One that comes too late finds no share left, and does nothing."""
    b = code.builder
    kind = ir.FunctionType(POINTER, [POINTER])
    schedule = b.inttoptr(code.load_int64(code.load_pointer(frame, FRAME_API), API_SCHEDULE), kind.as_pointer())
    request = b.bitcast(b.alloca(ir.ArrayType(INT64, 5)), POINTER)
    count = b.sub(code.load_int64(job, references), int64(2))
    with code.loop(count):
        words = (int64(40), int64(0), code.load_int64(frame, FRAME_CONTEXT))
        for place, value in enumerate((*words, b.ptrtoint(worker, INT64), b.ptrtoint(job, INT64))):
            code.store_int64(value, request, place)
        error = b.call(schedule, [request])
        with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(error, INT64), int64(0))):  # then this thread does it all
            change(code, job, references, -1)


def change(code: Code, job: Value, place: IntEnum, by: int) -> Value:
    """Adds to a counter that the workers share; returns what it was."""
    return code.builder.atomic_rmw("add", code.at(job, int64(8 * place), INT64), int64(by), "seq_cst")


def release(code: Code, job: Value, references: IntEnum = Job.REFERENCES) -> None:
    """Gives the job up; the last one frees it."""
    last = code.builder.icmp_signed("==", change(code, job, references, -1), int64(1))
    with code.builder.if_then(last):
        code.builder.call(code.external("free", VOID, [POINTER]), [job])
