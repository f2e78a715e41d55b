"""What `--mode=algorithm` and the export of its runs do for each algorithm, one file each."""

from types import ModuleType

from qjax.modes.algorithms import counting, grover, minimum, phase_estimation, shor

# Each has `needs(config)`, `run(config)` and `circuits(config, result)`; see `outcome.py` for what they return.
ALGORITHMS: dict[str, ModuleType] = {
    "grover": grover,
    "shor": shor,
    "phase_estimation": phase_estimation,
    "counting": counting,
    "minimum": minimum,
}
