"""Compiles the kernels of a GPU, and gives them to CUDA; only its driver is needed, not its compiler."""

import ctypes
from functools import cache
from typing import Any

from qjax.quantum.engines.native.cuda import large_kernel as cuda_passes
from qjax.quantum.engines.native.cuda import whole_kernel as cuda_kernel
from qjax.quantum.engines.native.cuda.driver import write_handler
from qjax.quantum.engines.native.ir.jit import optimized
from qjax.quantum.engines.native.ir.writer import Arithmetic

# Kinds of GPU that LLVM writes for, by compute capability: what it writes for one runs on later ones, too.
_CAPABILITIES = (70, 75, 80, 86, 89, 90, 100, 120)
# Of CUDA's driver (cuda.h): attributes of devices, and of kernels.
_MULTIPROCESSORS, _MAJOR, _MINOR, _BLOCK_MEMORY, _DYNAMIC_MEMORY = 16, 75, 76, 97, 8
_SUCCESS = 0


class CudaError(Exception):
    """CUDA's driver is not there, too old, or refuses."""


@cache
def _driver() -> Any:
    """Returns the library of CUDA's driver, ready for use.

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
    """Returns of the GPUs the least compute capability, multiprocessors, and bytes that a block may share.

    Raises:
      CudaError: there is no GPU, or no driver.
    """
    found = []
    for device in _devices():
        major, minor, number, memory = (
            _attribute(place, device) for place in (_MAJOR, _MINOR, _MULTIPROCESSORS, _BLOCK_MEMORY)
        )
        found.append((10 * major + minor, number, memory))
    if not found:
        raise CudaError("CUDA has no GPU")
    capability, number, memory = (min(values) for values in zip(*found, strict=True))
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


def _attribute(place: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _check("cuDeviceGetAttribute", _driver().cuDeviceGetAttribute(ctypes.byref(value), place, device))
    return value.value


def handler_module(name: str, arithmetic: Arithmetic, backward: bool, bits: int) -> Any:
    """Returns the module of the function that XLA calls, whose kernel CUDA has by now.

    Args:
      name: of the kernel.
      arithmetic: what the amplitudes are.
      backward: whether it is the reverse pass.
      bits: of the rows of a coset; 0 where it is the kernel that holds whole states.

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
    if large:
        first = cuda_passes.NEW_STATE_BACK if backward else cuda_passes.NEW_STATE
        return first, (cuda_passes.NUM_BACKWARD if backward else cuda_passes.NUM_FORWARD) - first
    first = cuda_kernel.SHARED_SUMS if backward else cuda_kernel.VALUES
    return first, (cuda_kernel.NUM_BACKWARD if backward else cuda_kernel.NUM_FORWARD) - first


def assembly(name: str, arithmetic: Arithmetic, backward: bool, capability: int, bits: int = 0) -> str:
    """Returns the assembly of a pass's kernel, PTX, for GPUs of at least that compute capability."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    known = max(x for x in _CAPABILITIES if x <= capability)
    machine = llvm.Target.from_triple("nvptx64-nvidia-cuda").create_target_machine(cpu=f"sm_{known}")
    facts = name, arithmetic, backward
    module = cuda_passes.write_passes(*facts, bits) if bits else cuda_kernel.write_kernel(*facts)
    return str(machine.emit_assembly(optimized(module, machine)))


def _load(text: str, name: str) -> ctypes.c_void_p:
    """Returns the handle of a kernel, given its assembly; it may have all the memory that a block can share."""
    driver, library, kernel = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
    nothing = None, None, 0
    _check("cuLibraryLoadData", driver.cuLibraryLoadData(ctypes.byref(library), text.encode(), *nothing, *nothing))
    _check("cuLibraryGetKernel", driver.cuLibraryGetKernel(ctypes.byref(kernel), library, name.encode()))
    for device in _devices():
        memory = _attribute(_BLOCK_MEMORY, device)
        _check("cuKernelSetAttribute", driver.cuKernelSetAttribute(_DYNAMIC_MEMORY, memory, kernel, device))
    return kernel
