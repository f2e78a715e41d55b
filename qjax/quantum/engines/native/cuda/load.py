"""Compiles the kernels of a GPU and loads them into CUDA. This needs CUDA's driver, but not its compiler."""

import ctypes
from functools import cache
from typing import Any

from qjax.quantum.engines.native.cuda import large_kernel, whole_kernel
from qjax.quantum.engines.native.cuda.driver import write_handler
from qjax.quantum.engines.native.ir.jit import optimized
from qjax.quantum.engines.native.ir.writer import Arithmetic

# Compute capabilities that LLVM writes code for. Code for one of them also runs on later GPUs.
_CAPABILITIES = (70, 75, 80, 86, 89, 90, 100, 120)
# Attributes of devices and of kernels (cuda.h).
_MULTIPROCESSORS, _MAJOR, _MINOR, _BLOCK_MEMORY, _DYNAMIC_MEMORY = 16, 75, 76, 97, 8
_SUCCESS = 0


class CudaError(Exception):
    """CUDA's driver is missing, too old, or reports an error."""


@cache
def _driver() -> Any:
    """Returns the library of CUDA's driver, initialised.

    Raises:
      CudaError: there is none, or one older than CUDA 12.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        functions = driver.cuInit, driver.cuLibraryLoadData, driver.cuLibraryGetKernel, driver.cuKernelSetAttribute
    except (OSError, AttributeError) as error:
        raise CudaError(f"the driver of CUDA 12 or later was expected, but: {error}") from error
    _check("cuInit", functions[0](0))
    return driver


def _check(name: str, status: int) -> None:
    if status != _SUCCESS:
        raise CudaError(f"{name} of CUDA's driver failed with status {status}")


@cache
def device_facts() -> tuple[int, int, int]:
    """Returns compute capability, number of multiprocessors and bytes a block can share: the least of all GPUs.

    Raises:
      CudaError: there is no GPU, or no driver.
    """
    gpus = []
    for device in _devices():
        major, minor, number, memory = (
            _attribute(attribute, device) for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS, _BLOCK_MEMORY)
        )
        gpus.append((10 * major + minor, number, memory))
    if not gpus:
        raise CudaError("CUDA has no GPU")
    capability, number, memory = (min(values) for values in zip(*gpus, strict=True))
    if capability < _CAPABILITIES[0]:
        raise CudaError(f"a GPU of compute capability 7.0 or later was expected, but this is {capability / 10}")
    return capability, number, memory


def _devices() -> list[ctypes.c_int]:
    count = ctypes.c_int()
    _check("cuDeviceGetCount", _driver().cuDeviceGetCount(ctypes.byref(count)))
    devices = [ctypes.c_int() for _ in range(count.value)]
    for ordinal, device in enumerate(devices):
        _check("cuDeviceGet", _driver().cuDeviceGet(ctypes.byref(device), ordinal))
    return devices


def _attribute(attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _check("cuDeviceGetAttribute", _driver().cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    return value.value


def handler_module(name: str, arithmetic: Arithmetic, backward: bool, bits: int) -> Any:
    """Loads a kernel into CUDA, and returns the module of the function that XLA calls to launch it; see `assembly`.

    Raises:
      CudaError: CUDA does not take the kernel.
    """
    capability = device_facts()[0]
    kernel = _load(assembly(name, arithmetic, backward, capability, bits), name)
    launch = ctypes.cast(_driver().cuLaunchKernel, ctypes.c_void_p).value
    assert launch is not None
    assert kernel.value is not None
    return write_handler(*num_arrays(backward, bits > 0), launch, kernel.value)


def num_arrays(backward: bool, large: bool) -> tuple[int, int]:
    """Returns the numbers of operands and results of a kernel."""
    first, end = (large_kernel if large else whole_kernel).RESULTS[backward]
    return first, end - first


def assembly(name: str, arithmetic: Arithmetic, backward: bool, capability: int, bits: int = 0) -> str:
    """Returns a kernel as PTX, for GPUs of at least this compute capability.

    It is one for whole states, or one for large states whose cosets have 2**bits rows.
    """
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    supported = max(x for x in _CAPABILITIES if x <= capability)
    machine = llvm.Target.from_triple("nvptx64-nvidia-cuda").create_target_machine(cpu=f"sm_{supported}")
    if bits:
        module = large_kernel.write_passes(name, arithmetic, backward, bits)
    else:
        module = whole_kernel.write_kernel(name, arithmetic, backward)
    return str(machine.emit_assembly(optimized(module, machine)))


def _load(text: str, name: str) -> ctypes.c_void_p:
    """Returns the handle of a kernel, given its PTX. Its blocks may take all the shared memory of a GPU's block."""
    driver, library, kernel = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
    nothing = None, None, 0
    _check("cuLibraryLoadData", driver.cuLibraryLoadData(ctypes.byref(library), text.encode(), *nothing, *nothing))
    _check("cuLibraryGetKernel", driver.cuLibraryGetKernel(ctypes.byref(kernel), library, name.encode()))
    for device in _devices():
        memory = _attribute(_BLOCK_MEMORY, device)
        _check("cuKernelSetAttribute", driver.cuKernelSetAttribute(_DYNAMIC_MEMORY, memory, kernel, device))
    return kernel
