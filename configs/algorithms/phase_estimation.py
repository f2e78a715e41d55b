"""Phase estimation of a phase gate: 8 precision qubits for a phase that 8 bits cannot hold exactly.

Command:   python main.py --mode=algorithm --config=configs/algorithms/phase_estimation.py --workdir=runs/phase
Time:      about 6 seconds on one CPU core, most of it starting up and compiling.
Result:    0.30078125, the nearest of 256 outcomes, with probability 0.8751; 255 uses of U, one at a time 6,641.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.algorithm = "phase_estimation"
    config.seed = 0  # of the measurements
    config.phase = 0.3  # in [0, 1): the gate multiplies |1> by exp(2 pi i phase)
    config.num_precision_qubits = 8  # t, for a resolution of 2**-t
    config.shots = 1000  # runs of the circuit, each with a measurement
    return config
