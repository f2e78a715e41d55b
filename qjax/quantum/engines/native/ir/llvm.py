"""llvmlite's writer of LLVM IR, where it is installed.

Modules that write code take it from here, so that all of them can be imported on a machine that has no llvmlite; none
of them is used there (`jit.is_available`).
"""

from typing import Any


class _Missing:
    """Stands for all of the library: its types are made where modules are imported."""

    def __getattr__(self, name: str) -> "_Missing":
        return self

    def __call__(self, *args: Any) -> "_Missing":
        return self


try:
    from llvmlite import ir as ir
except ImportError:
    ir = _Missing()  # type: ignore[assignment]
