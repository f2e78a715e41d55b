"""Native code by name: compiled when it is first wanted, and made known to XLA."""

import ctypes
from collections.abc import Iterable
from functools import cache
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp

from qjax.checks import check_choice
from qjax.quantum.circuits.angle import as_tuple
from qjax.quantum.engines.choices import MAX_CUDA_COSET_BITS, MIN_LARGE_QUBITS, native_platform
from qjax.quantum.engines.native.cpu.large_driver import LargeDriver
from qjax.quantum.engines.native.cpu.permute_driver import PermuteDriver
from qjax.quantum.engines.native.cpu.whole_driver import Driver
from qjax.quantum.engines.native.cuda.load import handler_module
from qjax.quantum.engines.native.ir.jit import compiled, is_available
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import Arithmetic

_LOCK = Lock()


def register_native_code(names: Iterable[str] = ()) -> tuple[str, ...]:
    """Compiles native code and makes it known to XLA, for executables that are loaded rather than lowered here.

    Lowering does this by itself, also where JAX's persistent compilation cache has the compiled program. A program
    that was serialised in another process (`jax.experimental.serialize_executable`) is not lowered: call this first.

    Args:
      names: of the code that is called, as lowered text has them, such as 'qjax_run_complex_float32', which takes a
        second; () for all of the platform, which takes about 40.

    Returns:
      The names that XLA knows now: () where the platform has no native code, or llvmlite is not installed.

    Raises:
      UserError: a name is not one of the platform's.
    """
    platform = native_platform() if is_available() else None
    if platform is None:
        return ()
    by_name = {_name(*facts): facts for facts in _all_code(platform)}
    wanted = (names,) if isinstance(names, str) else as_tuple("names", names)
    for name in wanted:
        check_choice("names", name, by_name)
    with _LOCK:
        return tuple(_registered(*by_name[name], platform) for name in wanted or by_name)


def _all_code(platform: str) -> list[tuple[str, str, bool, int]]:
    """Returns kind, dtype, whether amplitudes are complex, and bits of a coset of all code of a platform."""
    ways, fields = ("run", "gradient"), (True, False)
    if platform == "cuda":
        cosets = range(MIN_LARGE_QUBITS, MAX_CUDA_COSET_BITS + 1)
        kinds = [("", 0), *(("_large", bits) for bits in cosets)]
        return [(f"{way}{kind}", "float32", c, bits) for way in ways for kind, bits in kinds for c in fields]
    single, wide = (
        [f"{way}{kind}{lists}" for way in ways for kind in kinds for lists in ("", "_lists")]
        for kinds in (("", "_large"), ("_wide",))
    )
    kinds_of = {"float32": [*single, *wide, "permute"], "float64": [*single, "permute"]}
    return [(kind, dtype, c, 0) for dtype, kinds in kinds_of.items() for kind in kinds for c in fields]


def target(
    dtype: Any,
    backward: bool,
    is_complex: bool,
    platform: str = "cpu",
    large: bool = False,
    wide: bool = False,
    lists: bool = False,
    bits: int = 0,
) -> str:
    """Returns the name by which XLA calls the code of a pass, which is compiled where it is not yet there.

    Args:
      dtype: float32 or float64.
      backward: whether it is the reverse pass.
      is_complex: whether the amplitudes are.
      platform: 'cpu' or 'cuda'.
      large: whether it is the code for large states.
      wide: whether it computes in float64 what comes, and goes, in float32.
      lists: whether it has gates with lists, too (`CPU_FORMS`), which double the time to compile it.
      bits: of the rows of a coset, where it is the code of a GPU for large states.
    """
    kind = f"{'gradient' if backward else 'run'}{'_large' * large}{'_wide' * wide}{'_lists' * lists}"
    with _LOCK:
        return _registered(kind, jnp.dtype(dtype).name, is_complex, bits, platform)


def permute_target(dtype: Any, is_complex: bool) -> str:
    """Returns the name by which XLA calls what puts amplitudes elsewhere, on a CPU; see `target`."""
    with _LOCK:
        return _registered("permute", jnp.dtype(dtype).name, is_complex, 0, "cpu")


@cache
def _registered(kind: str, dtype: str, is_complex: bool, bits: int, platform: str) -> str:
    """Returns the name of a function that XLA knows by now; for one caller at a time."""
    name = _name(kind, dtype, is_complex, bits)
    stored = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    arithmetic = Arithmetic(ir.DoubleType() if "_wide" in kind else stored, is_complex, stored)
    address = compiled(_module(kind, name, arithmetic, platform, bits), "handler")
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    # XLA's own name of that platform has capital letters.
    xla_platform = {"cpu": "cpu", "cuda": "CUDA"}[platform]
    jax.ffi.register_ffi_target(name, capsule(address, None, None), platform=xla_platform)
    return name


def _name(kind: str, dtype: str, is_complex: bool, bits: int) -> str:
    return f"qjax_{kind}{bits or ''}_{'complex' if is_complex else 'real'}_{dtype}"


def _module(kind: str, name: str, arithmetic: Any, platform: str, bits: int) -> Any:
    """Returns the module of a function, whose entry point is `handler`."""
    backward, large = kind.startswith("gradient"), "_large" in kind
    if platform == "cuda":
        return handler_module(name, arithmetic, backward, bits)
    if kind == "permute":
        return PermuteDriver(arithmetic).module
    return (LargeDriver if large else Driver)(arithmetic, backward, "_lists" in kind).module
