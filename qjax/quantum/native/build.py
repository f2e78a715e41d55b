"""Compiles the native code in the process, when it is first wanted, and makes it known to XLA."""

import ctypes
import importlib.util
from functools import cache
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp

_OPTIMIZATION = 2
_LOCK = Lock()
# What must live as long as the code may be called.
_ENGINES: list[Any] = []


@cache
def is_available() -> bool:
    """Returns whether llvmlite is installed, and 64-bit addresses are what the code is written for."""
    return importlib.util.find_spec("llvmlite") is not None and ctypes.sizeof(ctypes.c_void_p) == 8


def target(dtype: Any, backward: bool, is_complex: bool) -> str:
    """Returns the name by which XLA calls the code of a pass, which is compiled where it is not yet there.

    Args:
      dtype: float32 or float64.
      backward: whether it is the reverse pass.
      is_complex: whether the amplitudes are.
    """
    with _LOCK:
        return _registered(jnp.dtype(dtype).name, backward, is_complex)


@cache
def _registered(dtype: str, backward: bool, is_complex: bool) -> str:
    name = f"qjax_{'gradient' if backward else 'run'}_{'complex' if is_complex else 'real'}_{dtype}"
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(name, capsule(_compile(dtype, backward, is_complex), None, None), platform="cpu")
    return name


def _compile(dtype: str, backward: bool, is_complex: bool) -> int:
    """Returns the address of the code's entry point."""
    import llvmlite.binding as llvm
    from llvmlite import ir

    from qjax.quantum.native.code import Arithmetic
    from qjax.quantum.native.driver import Driver

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=_OPTIMIZATION
    )
    real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    driver = Driver(Arithmetic(real, is_complex), backward)
    module = llvm.parse_assembly(str(driver.module))
    module.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=_OPTIMIZATION))
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    return int(engine.get_function_address("handler"))
