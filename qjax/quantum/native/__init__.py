"""Machine code for circuits, where they run on a CPU or on an NVIDIA GPU.

XLA's own loops read and write every state between two stages, and its matrix products do more arithmetic than the
gates need. Here a few examples, as many as fit into one vector register, go through the whole circuit and back while
their states stay in the cache; large states go pass by pass, with as many gates as act in a part of the state that
does (`large.py`). On a GPU the cache is the memory that a block of threads shares (`cuda/kernel.py`). The kernels are
written once for all circuits, as LLVM IR (`kernels.py`, `driver.py`), compiled in the process (`build.py`), and told
by a table what to do (`table.py`); XLA calls them as it calls its own (jax.ffi). `adjoint.py` asks `run.py` and
`large.py` whether a simulation can go this way.
"""
