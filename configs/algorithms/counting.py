"""Quantum counting: how many of 256 states are marked, by 6 precision qubits.

Command:   python main.py --mode=algorithm --config=configs/algorithms/counting.py --workdir=runs/counting
Time:      about 6 seconds on one CPU core, most of it starting up and compiling.
Result:    9.74 for the 9 that are, within the bound 5.25; 63 queries a run, classical samples 91.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.algorithm = "counting"
    config.seed = 0  # of the measurements
    config.num_qubits = 8  # n, for 2**n states
    config.marked = (1, 2, 3, 5, 8, 13, 21, 34, 55)  # what the oracle marks: basis indices, or bitstrings of n bits
    config.num_precision_qubits = 6  # p: a run takes 2**p - 1 queries of the oracle
    config.shots = 1000  # runs of the circuit, each with a measurement
    return config
