"""What each kind of step does, counted: passes over the state, bytes moved, arithmetic.

The figures are a count by the model that stands here, not a measurement. One pass is one read and one write of the
state; a transposition that a step needs is a pass of its own, and what XLA fuses into one loop is one pass. A
multiplication, an addition, a sine and a cosine are one floating-point operation each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qjax.quantum.circuits.angle import Input
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.stages import Single
from qjax.quantum.engines.xla.operation_step import OperationStep
from qjax.quantum.engines.xla.planes import MAX_WRITTEN_ROWS, MIN_ROW
from qjax.quantum.engines.xla.steps import (
    MAX_TABLE_QUBITS,
    FlipStep,
    GatherStep,
    MatrixStep,
    MoveStep,
    PhaseStep,
    ReflectionStep,
)
from qjax.quantum.states.apply import MAX_PAULI_MATRIX_QUBITS, MAX_SLICED_ENTRIES

Reverse = str  # the same without "auto"
ReversePass = str  # one of `adjoint.REVERSE_PASSES`
INDEX_BYTES = 4  # of a row's number in a gather


@dataclass(frozen=True)
class Work:
    """An amount of work.

    Attributes:
      passes: reads and writes of the whole state, in pairs; half a pass reads it or writes it.
      num_bytes: bytes read and written.
      flops: floating-point operations.
    """

    passes: float | int = 0
    num_bytes: int = 0
    flops: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.passes + other.passes, self.num_bytes + other.num_bytes, self.flops + other.flops)

    def times(self, count: int) -> "Work":
        """Returns the work of doing it `count` times."""
        return Work(self.passes * count, self.num_bytes * count, self.flops * count)

    def split(self, count: int) -> "Work":
        """Returns the work of doing it for each of `count` parts of a batch: the passes are over all of it."""
        return Work(self.passes, self.num_bytes * count, self.flops * count)


def total(works: Sequence[Work]) -> Work:
    """Returns the sum."""
    return sum(works, Work())


@dataclass(frozen=True)
class Setting:
    """What the costs of steps depend on.

    Attributes:
      batch: number of examples.
      itemsize: bytes of a real number.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      reverse: how the reverse pass finds the states.
    """

    batch: int
    itemsize: int
    batched: frozenset[str]
    reverse: Reverse

    def is_batched(self, *operations: Operation) -> bool:
        """Whether an angle of the operations differs between examples."""
        references = {ref for op in operations for angle in op.angles for ref in angle.references}
        names = {"inputs" if isinstance(ref, Input) else ref.name for ref in references}
        return not names.isdisjoint(self.batched)

    def width(self, *operations: Operation) -> int:
        """Returns the batch, or 1 where no angle of the operations differs between examples."""
        return self.batch if self.is_batched(*operations) else 1

    def content(self, *operations: Operation) -> str:
        """Returns whether the operations' numbers are 'constant', 'shared' or 'per example'."""
        if all(angle.is_constant for op in operations for angle in op.angles):
            return "constant"
        return "per example" if self.is_batched(*operations) else "shared"


# The parts of a step's work. --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """A step's work in parts, of a state of some width.

    Attributes:
      apply: the step, or undoing it, once.
      cotangents: of its numbers.
      numbers: real numbers that follow from parameters and inputs.
    """

    apply: Work
    cotangents: Work = Work()
    numbers: int = 0


def _traffic(step: Any, width: int, setting: Setting, passes: float | int) -> int:
    """Returns the bytes of so many passes, each a read of the state before and a write of the one after."""
    both = int(2**step.before.num_bits + 2**step.after.num_bits)
    return round(passes * both * width * setting.itemsize)


def _matrix_parts(step: MatrixStep, source: Any, width: int, setting: Setting) -> Parts:
    rows, columns = matrix_shape(step)
    own = 1 if step.constant is not None else setting.width(*source.operations)
    numbers_after = 2**step.after.num_bits * width
    groups = 2**step.first_bit
    row = 2**step.before.num_bits * width // (groups * columns)
    passes = 1 if step.is_window else 3  # scattered qubits are brought to the front and back
    if own > 1:
        passes += 2 * (columns > MAX_WRITTEN_ROWS)  # the examples come to the front
    elif groups > 1 and 1 < row < MIN_ROW:
        passes += 2
    flops = 2 * columns * numbers_after
    size = rows * columns * own
    apply = Work(passes, _traffic(step, width, setting, passes) + size * setting.itemsize, flops)
    if step.constant is not None:
        return Parts(apply)
    back = 1 if own == 1 else rows if rows <= MAX_WRITTEN_ROWS else 3  # one pass: two reads
    back += 2 * (own == 1 and 1 < row < MIN_ROW) + 2 * (not step.is_window)
    num_bytes = round(2 * back * numbers_after * setting.itemsize) + size * setting.itemsize
    return Parts(apply, Work(back, num_bytes, 2 * rows * numbers_after + 2 * rows * size), size)


def _gather_parts(step: GatherStep, source: Any, width: int, setting: Setting) -> Parts:
    by_table = step.before.num_qubits <= MAX_TABLE_QUBITS
    passes = 1 if by_table else len(step.operations)
    table = INDEX_BYTES * 2**step.before.num_bits if by_table else 0
    return Parts(Work(passes, _traffic(step, width, setting, passes) + table))


def _move_parts(step: MoveStep, source: Any, width: int, setting: Setting) -> Parts:
    return Parts(Work(1, _traffic(step, width, setting, 1)))


def _phase_parts(step: PhaseStep, source: Any, width: int, setting: Setting) -> Parts:
    dim = 2**step.before.num_qubits
    widths = [setting.width(op) for op in source.operations]
    own, count = max(widths), len(widths)
    if step.table is None:  # the phases of each operation are spread and added up, and the slopes read for each
        added, reads = count, count if own > 1 else 1
        numbers = sum(2 ** len(op.all_qubits) * w for op, w in zip(source.operations, widths, strict=True))
    else:  # one matrix product
        added, reads, numbers = 2 * len(step.table.angles), 1, len(step.table.angles) * own
    # The cosines and sines of the phases are written and read once: as many numbers as a complex state.
    angles = 4 * dim * own * setting.itemsize
    passes = 1 if own == 1 else 2
    apply = Work(passes, _traffic(step, width, setting, 1) + angles, 6 * dim * width + (added + 2) * dim * own)
    back = 1.25 + 0.25 * reads  # slopes, half a state, are written, then read
    slopes = round(back * 4 * dim * width * setting.itemsize)
    return Parts(apply, Work(back, slopes, 3 * dim * width + added * dim * own), numbers)


def _flip_parts(step: FlipStep, source: Any, width: int, setting: Setting) -> Parts:
    return Parts(Work(1, _traffic(step, width, setting, 1), 2**step.before.num_bits * width))


def _operation_parts(step: OperationStep, source: Any, width: int, setting: Setting) -> Parts:
    op = step.operation
    dim = 2**op.gate.num_qubits
    amplitudes = 2**step.before.num_qubits * width >> len(op.controls)
    passes, flops = 1, 0
    if op.gate.structure == "diagonal":
        flops = 6 * amplitudes
    elif op.gate.structure == "permutation":
        passes = 1 if dim <= MAX_SLICED_ENTRIES else 3
    elif op.gate.name == "pauli_rotation" and op.gate.num_qubits > MAX_PAULI_MATRIX_QUBITS:
        passes, flops = 2, 20 * amplitudes
    else:
        passes, flops = (3 if dim * dim > MAX_SLICED_ENTRIES else 1), 8 * dim * amplitudes
    apply = Work(passes, _traffic(step, width, setting, passes), flops)
    numbers = sum(setting.width(op) if not angle.is_constant else 1 for angle in op.angles)
    # The state before it, then the derivative of the step along its angles.
    return Parts(apply, apply.times(3) if op.angles else Work(), numbers)


def _reflection_parts(step: ReflectionStep, source: Any, width: int, setting: Setting) -> Parts:
    numbers = 2**step.before.num_bits * width
    return Parts(Work(1.5, _traffic(step, width, setting, 1.5), 2 * numbers))  # read for the mean, then once more


PARTS: tuple[tuple[type, Any, str], ...] = (
    (MatrixStep, _matrix_parts, "matrix"),
    (GatherStep, _gather_parts, "permutation"),
    (MoveStep, _move_parts, "move re/im bit"),
    (PhaseStep, _phase_parts, "phases"),
    (FlipStep, _flip_parts, "signs"),
    (OperationStep, _operation_parts, "gate"),
    (ReflectionStep, _reflection_parts, "reflection"),
)


def matrix_shape(step: MatrixStep) -> tuple[int, int]:
    """Returns rows and columns of the real matrix of a step."""
    dim = 2 ** len(step.qubits)
    if not step.takes_plane:
        return dim, dim
    return (dim if step.after.place is None else 2 * dim), (dim if step.before.place is None else 2 * dim)


def operations_of(source: Any) -> tuple[Operation, ...]:
    """Returns the operations of the stage behind a step; none where there is no stage or no operation in it."""
    if isinstance(source, Single):
        return (source.operation,)
    found: tuple[Operation, ...] = getattr(source, "operations", ())
    return found
