"""The functions of a CPU that entries of a table call, by their kinds."""

from collections.abc import Callable
from functools import partial

from qjax.quantum.engines.native.cpu.shared_layers_code import rotate, rotate_back
from qjax.quantum.engines.native.ir.gather_kernels import gather
from qjax.quantum.engines.native.ir.kernels import backward, forward
from qjax.quantum.engines.native.ir.string_kernels import controlled, controlled_back, sum_phases, sum_phases_back
from qjax.quantum.engines.native.ir.writer import Code, Value
from qjax.quantum.engines.native.table.layout import (
    CPU_FORMS,
    FORMS,
    GATHERS,
    GIVENS,
    MAX_GIVENS,
    MAX_GIVENS_BACK,
    PRODUCT,
    PRODUCT_KIND,
    STRINGS,
    SUMS,
    Form,
)

# A name, how many addresses it is given, and what writes it, given these.
Kernel = tuple[str, int, Callable[..., None]]


def listed_kernels(is_backward: bool) -> dict[int, Kernel]:
    """Returns what applies gates with lists of strings, or goes back through them.

    It is given what others are, then records, content, and scratch.
    """
    way, count = ("undo", 8) if is_backward else ("apply", 6)
    return {
        kind: (f"{way}_{_name(form)}", count, partial(_listed, form=form, is_backward=is_backward))
        for form, kind in CPU_FORMS.items()
    }


def kernels() -> dict[int, Kernel]:
    """Returns what applies gates: given the tile, the entry, and coefficients, or rotations and tables of phases."""
    found: dict[int, Kernel] = {}
    for kind, form in (*enumerate(FORMS), (PRODUCT_KIND, PRODUCT)):
        found[kind] = f"apply_{_name(form)}", 3, partial(forward, form=form)
    for (count, phases), kind in GIVENS.items():
        if phases or count == MAX_GIVENS:
            found[kind] = f"rotate_{count}_{phases:d}", 4, partial(rotate, count=count, phases=phases)
    return found


def kernels_back() -> dict[int, Kernel]:
    """Returns what goes back through gates: given the tile, its cotangent, the entry, the same, and sums."""
    found: dict[int, Kernel] = {}
    for kind, form in (*enumerate(FORMS), (PRODUCT_KIND, PRODUCT)):
        if form[0] != "pair":
            found[kind] = f"undo_{_name(form)}", 5, partial(backward, form=form)
    for count, kind in SUMS.items():
        found[kind] = f"sums_{count}", 5, partial(backward, form=("diagonal", count, 0), changes=False)
    for (count, phases), kind in GIVENS.items():
        if count <= MAX_GIVENS_BACK:
            found[kind] = f"rotate_back_{count}_{phases:d}", 6, partial(rotate_back, count=count, phases=phases)
    return found


def _name(form: Form) -> str:
    return "_".join(map(str, form))


def _listed(code: Code, *operands: Value, form: Form, is_backward: bool) -> None:
    code.function.attributes.add("optsize")  # half the time to compile
    if form == STRINGS:
        (sum_phases_back if is_backward else sum_phases)(code, *operands)
    elif CPU_FORMS[form] in GATHERS:
        tiles = 1 + is_backward
        gather(code, form[0], is_backward, operands[:tiles], operands[tiles], *operands[-3:])
    else:
        (controlled_back if is_backward else controlled)(code, form, *operands[:-2])
