"""Machine code for circuits, where they run on a CPU or on an NVIDIA GPU.

XLA's own loops read and write every state between two stages, and its matrix products do more arithmetic than the
gates need. Here a few examples, as many as fit into one vector register, go through the whole circuit and back while
their states stay in the cache; large states go pass by pass, with as many gates as act in a part of the state that
does (`large.py`). On a GPU the cache is the memory that a block of threads shares (`cuda/whole_kernel.py`). The
kernels are written once for all circuits, as LLVM IR (`kernels.py`, `whole_driver.py`), compiled in the process
(`jit.py`), and told by a table what to do (`entries.py`); XLA calls them as it calls its own (jax.ffi).
`simulation.py` asks `whole_states.py` and `large.py` whether a simulation can go this way.
"""
