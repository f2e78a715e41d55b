"""Shor's algorithm on 15, by its circuit of 12 qubits, without luck: a base that shares a factor is drawn again.

Command:   python main.py --mode=algorithm --config=configs/algorithms/shor.py --workdir=runs/shor
Time:      about 6 seconds on one CPU core, most of it starting up and compiling.
Result:    15 = 3 x 5 at the first attempt, with base 7 of order 4; theory expects 1.5 attempts.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.algorithm = "shor"
    config.seed = 0  # of the bases and the measurements
    config.number = 15  # N, to be split in two factors; 2 or more
    config.num_counting_qubits = 0  # t, of the outcome's precision; 0 takes 2 ceil(log2 N)
    config.max_attempts = 32  # bases that are tried at most, each with one run of order finding
    config.use_lucky_gcd = False  # whether a base that happens to share a factor with N counts as an answer
    config.simulation = "circuit"  # 'circuit': every gate on all qubits | 'direct': the same outcomes, much faster
    return config
