"""What the native code and those who call it agree on: the forms of gates, and how table and memory are laid out."""

from enum import IntEnum, auto
from typing import SupportsInt

import numpy as np

# What one vector holds: the registers of AVX-512, two of AVX2, four of NEON. LLVM splits it as the machine needs.
VECTOR_SHIFT = 6
VECTOR_BYTES = 2**VECTOR_SHIFT


class Entry(IntEnum):
    """The words of an entry of the table, 32-bit integers; of LOW to FLIP there is one for each of up to 3 qubits."""

    KIND = 0  # its place in FORMS, or one of the kinds below
    FIRST = 1  # the place of its first coefficient
    COUNT = 2  # how many cosets of rows it acts on
    LOW = 3  # the bits below a pivot
    REAL_ROWS = 5  # of a matrix on one qubit: 1 where each row is one of real numbers times a phase, as in RZ RY
    MASK = 6  # the change of row that flips the qubit (`relabelling.py`)
    WEIGHTS = 9  # the bits of the row whose parity the qubit is
    FLIP = 12  # what that parity must be for the row that comes first
    LANES = 15  # bits of a place in a vector whose parity a qubit depends on, four for each qubit
    SIZE = 16


class MadeEntry(IntEnum):
    """The words of an entry that makes numbers from others: where those lie."""

    LEFT = Entry.LOW
    RIGHT = Entry.MASK


# Forms of a gate: what it is, on how many qubits, under how many controls.
#   start     makes the state of a fresh qubit: a column of two numbers
#   column    makes such a column: a matrix that all examples share times a column that each example has
#   rotation  makes the numbers of a gate from the angle of each example
#   dense     a matrix
#   diagonal  a diagonal
#   pair      two matrices on one qubit each, in one pass
Form = tuple[str, int, int]
FORMS: tuple[Form, ...] = (
    ("start", 1, 0),
    ("column", 1, 0),
    ("rotation", 1, 0),
    ("dense", 1, 0),
    ("dense", 1, 1),
    ("dense", 1, 2),
    ("dense", 2, 0),
    ("dense", 2, 1),
    ("diagonal", 1, 0),
    ("diagonal", 2, 0),
    ("diagonal", 3, 0),
    ("pair", 2, 0),
)
MAX_QUBITS = 3
# What a rotation multiplies its angle by is the sum of so many numbers: in float32 they have all digits of float64.
NUM_SCALES = 3
# Kinds of entries that make numbers and touch no amplitude.
START, COLUMN, SINGLE = (FORMS.index((kind, 1, 0)) for kind in ("start", "column", "dense"))
DIAGONALS = tuple(place for place, form in enumerate(FORMS) if form[0] == "diagonal")
MAKER_KINDS = tuple(FORMS.index((kind, 1, 0)) for kind in ("rotation", "column"))
# On a CPU a further kind makes the product of two matrices on one qubit, one of which is a per-example one.
PRODUCT: Form = ("product", 1, 0)
PRODUCT_KIND = 96
CPU_MAKER_KINDS = (*MAKER_KINDS, PRODUCT_KIND)
# The kind of an entry that transposes the lanes of a vector with as many rows: see `passes.py`.
TRANSPOSE = len(FORMS)
# Kinds of an entry that says that so many gates on one qubit each are applied at once (`cuda/grouping.py`): a thread
# of a GPU has registers for the rows of so many qubits.
#   several      has the numbers of each gate
#   scaled       has what all examples share: unit-diagonal matrices and one diagonal (`cuda/scaled_gates.py`)
#   scaled_real  likewise, these matrices being real
MAX_GROUP, MAX_GROUP_BACK, MAX_SCALED = 4, 3, 5
GROUP_FORMS = ("dense_group", "scaled", "scaled_real")
GROUP_KINDS = {
    (kind, count): TRANSPOSE + MAX_SCALED * place + count
    for place, kind in enumerate(GROUP_FORMS)
    for count in range(1, MAX_SCALED + 1)
}


class GroupEntry(IntEnum):
    """The words of such an entry; FIRST is its number among those that are scaled, and another entry follows it."""

    COSETS = 7  # of large states: where the list of its cosets begins (`cuda/memory_banks.py`)
    FIRSTS = 8  # the place of each gate's numbers
    MEMBERS = 15  # 1: the next entry belongs to it


class GroupMembers(IntEnum):
    """The words of the entry that follows: one for each gate, four of each kind; the latter two of listed cosets."""

    MASKS = 0
    WEIGHTS = 4
    FLIPS = 8
    LOWS = 12
    COSET_FLIPS = 0
    MOVES = 8


# Kinds of entries of a CPU that stand for gates which all examples share (`shared_layers.py`): how many rotations
# are done at once, forwards or back at most so many, and whether phases follow, as they do the last of those side by
# side. FIRST of such an entry is its first rotation's place among all, PHASES that of its phases; of each qubit
# there is what other gates have.
MAX_GIVENS, MAX_GIVENS_BACK = 3, 2
GIVENS = {
    (count, phases): 64 + 2 * count + phases
    for count in range(MAX_GIVENS + 1)
    for phases in (False, True)
    if phases or count in (MAX_GIVENS, MAX_GIVENS_BACK)
}


class LayerEntry(IntEnum):
    """The word of such an entry beside those of gates: the place of its phases."""

    PHASES = 15


# Kinds of entries, by the number of qubits, of a diagonal gate that the reverse pass undoes with such phases: they
# take the sums for its numbers, and change nothing.
SUMS = {1: 81, 2: 82}
# Kinds of entries of a CPU for gates on any number of qubits, which have records of strings of Z (`RECORD_WORDS`):
#   controlled  a matrix on one or two qubits, where every string of a list is odd
#   strings     a phase for each row: the sum of angles with the signs of their strings
STRINGS: Form = ("strings", 0, 0)
#   matrix, permutation, reflection
#               on any number of qubits, each a record before the controls: see `ir/gather_kernels.py`
CPU_FORMS: dict[Form, int] = {("controlled", 1, 0): 90, ("controlled", 2, 0): 91, STRINGS: 92}
GATHERS = {93: "matrix", 94: "permutation", 95: "reflection"}
CPU_FORMS |= {(name, 0, 0): kind for kind, name in GATHERS.items()}


class ListEntry(IntEnum):
    """The words of such an entry."""

    TARGETS = Entry.LOW  # how many records are qubits that it acts on
    RECORDS = Entry.MASK + 2  # its first record
    NUM_RECORDS = Entry.WEIGHTS + 2
    CONTENT = Entry.FLIP + 2  # where its numbers begin: pairs of float64, row by row, or images of a permutation


class RecordWord(IntEnum):
    """The words of a record: a string of Z, or a qubit, which has its mask and the bits below a pivot."""

    WEIGHTS = 0  # the bits of the row whose parity the string is
    FLIP = 1  # whether it is flipped, with the bits of the coset's first row, as entries have it
    LANES = 2  # the bits of the place in a vector
    ANGLE = 3  # the place of an angle, or -1
    SCALE = 4  # what that angle, or 1, is multiplied by: a number of float64
    SIZE = 6
    MASK = 3
    LOW = 4


# log2 of the bytes of one rotation's record; its sums take as many (`shared_layers_code.py`).
RECORD_SHIFT = VECTOR_SHIFT + 2


class RotationWord(IntEnum):
    """The words of a rotation, or of the numbers of a diagonal gate among them, where SCALED is -1."""

    GATE = 0  # where the numbers of its gate begin
    SCALED = 1  # which rotations, of all, are scaled where its sums are taken: from this one
    SCALED_END = 2  # to this one
    SIZE = 4


class FactorWord(IntEnum):
    """The words of a factor of a table of phases: its second number holds where all three qubits are 1."""

    ROTATION = 0  # -1 where the factor is 1 and -1
    BEFORE = 1  # 1: the diagonal before that rotation; 0: the one after it
    COUNT = 2  # how many factors the table has
    WEIGHTS = 3  # of three qubits; where there are fewer, the others are 1 always
    FLIPS = 6
    SIZE = 10


def max_scaled(backward: bool, listed: bool) -> int:
    """Returns how many gates are scaled at once at most: that is a matter of registers."""
    return MAX_SCALED if listed and not backward else MAX_GROUP


# On a GPU so many bits of a row's number in a coset are those of the row itself: a warp reads rows in one piece.
LOW_BITS = 5


class ReadWord(IntEnum):
    """The words of a string of I and Z; see `z_strings.in_coset`."""

    ROW = 0
    MASK = 1
    NUMBER = 2
    SIZE = 4


def num_numbers(form: Form) -> int:
    """Returns how many complex numbers a gate of the form has."""
    kind, qubits, _ = form
    dim = 1 << qubits
    dense = {"dense": dim * dim, "controlled": dim * dim, "pair": 8}
    return {"start": 2, "column": 2, "diagonal": dim, **dense}.get(kind, 0)


_FORM_OF = dict(enumerate(FORMS)) | {PRODUCT_KIND: PRODUCT} | {kind: form for form, kind in CPU_FORMS.items()}


def form_of(kind: SupportsInt) -> Form:
    """Returns the form of an entry's kind."""
    return _FORM_OF[int(kind)]


class Call(IntEnum):
    """What the workers of a call on a CPU share, in words of 8 bytes.

    Those before SHARED are the first integers of its plan: facts, and where what follows begins.
    """

    QUBITS = 0
    BATCH = auto()
    TILES = auto()
    WORKERS = auto()  # as many as there are shares of the tiles
    WORKSPACE = auto()  # bytes for each worker
    NUM_MADE = auto()  # coefficients that are made of others, of each example
    NUM_COMPOSED = auto()  # those that all examples share
    STATE = auto()  # 1 where the amplitudes are read, 0 where strings of I and Z are
    GATES = auto()
    NUM_GATES = auto()
    GATES_BACK = auto()
    NUM_GATES_BACK = auto()
    READ = auto()
    NUM_READ = auto()
    RECIPES = auto()
    NUM_RECIPES = auto()
    CONSTANTS = auto()
    NUM_CONSTANTS = auto()
    ROTATIONS = auto()  # see `shared_layers.py`
    NUM_ROTATIONS = auto()
    FACTORS = auto()  # of the tables of phases
    NUM_FACTORS = auto()
    RECORDS = auto()  # of strings of Z
    NUM_RECORDS = auto()
    CONTENT = auto()  # of matrices and permutations
    NUM_CONTENT = auto()
    NUM_TABLES = auto()
    SHARED = auto()
    NUM_SHARED = auto()
    PER_EXAMPLE = auto()
    NUM_PER_EXAMPLE = auto()
    VALUES = auto()  # results of the forward pass, or their cotangents
    SHARED_SUMS = auto()
    PER_EXAMPLE_SUMS = auto()
    BEGIN = auto()  # states that come before the gates
    NUM_BEGIN = auto()  # rows of it, 0 where they are |0...0>
    END = auto()  # states that come last; of the reverse pass, cotangents of the first ones
    NUM_END = auto()  # rows of it, 0 where they are not wanted
    SCRATCH = auto()
    NEXT = auto()  # share to be taken next
    DONE = auto()  # shares that are done
    REFERENCES = auto()  # workers that may still look here


# Words that are places, each before the number of what lies there.
PLACES = (
    Call.GATES,
    Call.GATES_BACK,
    Call.READ,
    Call.RECIPES,
    Call.CONSTANTS,
    Call.ROTATIONS,
    Call.FACTORS,
    Call.RECORDS,
    Call.CONTENT,
)


class Recipe(IntEnum):
    """What a recipe begins with, in 32-bit integers; then come the constants of its factors, and places.

    The constants of a factor are float64: s, then real and imaginary parts of C, A, B of each number, the blocks one
    after the other. Places are of the coefficients of each gate, then of the first factor's angle for each gate, and
    so on; -1 where a factor has no angle.
    """

    SIZE = 0  # of the whole recipe
    BLOCKS = auto()  # on the diagonal of each factor
    DIM_SHIFT = auto()  # binary logarithm of the rows of a block
    COLUMN_SHIFT = auto()  # of the columns of the product
    FACTORS = auto()
    ITEMS = auto()  # gates
    PLACES = auto()  # where the places begin
    UNUSED = auto()  # so that float64 follows at a multiple of its size


# Complex numbers of the largest product.
MAX_NUMBERS = 16


class LargeCall(IntEnum):
    """The same of a call for large states, whose counters of each pass follow.

    Those before ENTRIES are an operand, in 32-bit integers.
    """

    TOTAL = 0  # qubits
    BITS = auto()  # of the rows of a coset
    LOW_QUBITS = auto()  # of the second half of the first state; -1 where that is given
    BATCH = auto()
    PASSES = auto()
    SHARES = auto()
    WORKERS = auto()
    WORKSPACE = auto()  # bytes of each share
    NUM_COEFFICIENTS = auto()
    NUM_SHARED = auto()  # of these, what is handed over
    NUM_CONSTANTS = auto()
    NUM_RECIPES = auto()
    ENTRIES = auto()
    COUNTS = auto()
    TARGETS = auto()
    PLACES = auto()
    STEPS = auto()
    COLUMNS = auto()
    PIVOTS = auto()
    ROWS = auto()
    RECORDS = auto()
    CONTENT = auto()
    NUMBERS = auto()  # constants and recipes
    SHARED = auto()
    HIGH = auto()
    LOW = auto()
    STATE = auto()
    COTANGENT = auto()
    NEW_STATE = auto()
    NEW_COTANGENT = auto()
    SUMS = auto()
    SCRATCH = auto()
    REFERENCES = auto()


class Launch(IntEnum):
    """The integers that a kernel of a GPU gets after the addresses of operands and results."""

    QUBITS = 0
    BATCH = auto()
    TILES = auto()
    LANES = auto()  # binary logarithm of the examples of a tile
    GROUPS = auto()  # binary logarithm of the threads for each example
    NUM_GATES = auto()
    NUM_GATES_BACK = auto()
    NUM_READ = auto()
    NUM_SHARED = auto()
    NUM_PER_EXAMPLE = auto()
    NUM_MADE = auto()  # coefficients that are made of others
    NUM_SCALED = auto()  # sums of gates that are scaled
    KEPT = auto()  # 1 where the final states are kept
    STATE = auto()  # 0 where strings of I and Z are read; 1 where the amplitudes are, or are handed over
    SCRATCH = auto()  # numbers for each block: what is made, and the sums
    STAGING = auto()  # number in the shared memory where the staging of sums begins
    STAGING_SIZE = auto()  # numbers of one half of it
    # Of large states, whose tiles are cosets (`passes.py`), QUBITS being the bits of these:
    TOTAL = auto()  # qubits
    PASS = auto()  # number of the pass
    FIRST_GATE = auto()  # its first entry
    BEGINS = auto()  # 1 where it is done first
    ENDS = auto()  # 1 where it is done last
    LOW_QUBITS = auto()  # of the second half of the first state
    ZERO = auto()  # 0, which those do not know who compile a kernel


def workspace_bytes(
    num_qubits: int,
    num_coefficients: int,
    backward: bool,
    is_complex: bool,
    num_rotations: int = 0,
    num_tables: int = 0,
    itemsize: int = 4,
) -> int:
    """Returns the bytes of a worker: a tile, its probabilities, coefficients, and what the reverse pass takes."""
    states, parts = 2 if backward else 1, 2 if is_complex else 1  # with its cotangent
    vectors = (parts * states + 1) * (1 << num_qubits) + (num_coefficients + 4 * num_rotations) * states
    tables = parts * itemsize * num_tables << num_qubits
    return int(VECTOR_BYTES * vectors + -(-tables // VECTOR_BYTES) * VECTOR_BYTES)


def scratch_bytes(entries: np.ndarray, num_rows: int, is_complex: bool) -> int:
    """Returns the bytes of scratch that entries need: a number for each row of a tile, or the rows of a coset."""
    gathered = np.isin(entries[:, Entry.KIND], list(GATHERS))
    count: int = 2 ** int(entries[gathered, ListEntry.TARGETS].max()) if gathered.any() else 0
    numbers = num_rows * int((entries[:, Entry.KIND] == CPU_FORMS[STRINGS]).any())
    # Before and after the gate, and where each row lies.
    return int(VECTOR_BYTES * max(numbers, 2 * (1 + is_complex) * count + -(-4 * count // VECTOR_BYTES)))
