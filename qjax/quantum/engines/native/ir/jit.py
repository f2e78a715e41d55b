"""Compiles native code in the process."""

import ctypes
import importlib.util
import os
from functools import cache
from typing import Any

_OPTIMIZATION = 2
# What must live as long as the code may be called.
_ENGINES: list[Any] = []


@cache
def is_available() -> bool:
    """Returns whether llvmlite is installed, and the code is written for this system: 64-bit addresses, and POSIX."""
    is_posix = os.name == "posix" and ctypes.sizeof(ctypes.c_void_p) == 8
    return is_posix and importlib.util.find_spec("llvmlite") is not None


def compiled(module: Any, function: str) -> int:
    """Returns the address of a function of a module, compiled for this machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=_OPTIMIZATION
    )
    engine = llvm.create_mcjit_compiler(optimized(module, machine), machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    return int(engine.get_function_address(function))


def optimized(module: Any, machine: Any) -> Any:
    """Returns a module as LLVM has it, optimized for a machine."""
    import llvmlite.binding as llvm

    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=_OPTIMIZATION))
    passes.getModulePassManager().run(parsed, passes)
    return parsed
