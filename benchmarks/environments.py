"""The peers and the environment of each: made under .bench/, which git ignores, from the package index alone.

Every peer has an environment of its own, so that no peer's pins hold another one back, and a failure to install stays
with the peer it belongs to. The newest releases are taken where a requirement does not say otherwise; the versions
that were used stand in the report.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import NAMES

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".bench"
INSTALL_SECONDS = 1800


@dataclass(frozen=True)
class Peer:
    """A framework to run.

    Attributes:
      module: its file.
      environment: the folder under .bench/; '' for the project's own environment.
      requirements: what pip installs there.
      function: of the module, that returns the forms.
      workloads: that it is asked for; every one must be answered, if only with a reason.
      gpu: packages to add for a GPU; empty where the peer is not run on one.
    """

    module: str
    environment: str
    requirements: tuple[str, ...] = ()
    function: str = "forms"
    workloads: tuple[str, ...] = NAMES
    gpu: tuple[str, ...] = ()


# PennyLane 0.45 uses functions that jax 0.11 no longer has.
_PENNYLANE = ("pennylane", "pennylane-lightning", "jax<0.11", "optax")
PEERS = {
    "qjax": Peer("benchmarks.peers.qjax_", "", gpu=("jax[cuda12]",)),
    "tensorcircuit-ng": Peer(
        "benchmarks.peers.tensorcircuit_",
        "tensorcircuit",
        ("tensorcircuit-ng", "jax", "optax"),
        workloads=("W1", "W2", "W4", "W6", "W7", "W8", "W10", "W11", "W13"),
        gpu=("jax[cuda12]",),
    ),
    "tensorcircuit-ng, gates as written": Peer(
        "benchmarks.peers.tensorcircuit_",
        "tensorcircuit",
        ("tensorcircuit-ng", "jax", "optax"),
        function="forms_as_written",
        workloads=("W1",),
        gpu=("jax[cuda12]",),
    ),
    "default.qubit": Peer(
        "benchmarks.peers.pennylane_",
        "pennylane",
        _PENNYLANE,
        workloads=("W1", "W2", "W4", "W6", "W7", "W8", "W10", "W13"),
    ),
    "lightning.qubit": Peer(
        "benchmarks.peers.lightning_",
        "pennylane",
        _PENNYLANE,
        workloads=("W1", "W2", "W3", "W5", "W7", "W8", "W9", "W10", "W11", "W13"),
    ),
    "qujax": Peer(
        "benchmarks.peers.qujax_", "qujax", ("qujax", "jax", "optax"), workloads=("W1", "W2", "W4", "W6", "W7", "W8")
    ),
    "qulacs": Peer(
        "benchmarks.peers.qulacs_",
        "qulacs",
        ("qulacs",),
        workloads=("W1", "W2", "W3", "W5", "W8", "W9", "W11", "W13"),
    ),
    "qsim": Peer("benchmarks.peers.qsim_", "qsim", ("qsimcirq",), workloads=("W1", "W3", "W5", "W7", "W9")),
    "Aer": Peer("benchmarks.peers.aer_", "aer", ("qiskit-aer",), workloads=("W1", "W3", "W5", "W7", "W9")),
    "TorchQuantum": Peer(
        "benchmarks.peers.torchquantum_",
        "torchquantum",
        # It imports packages that it does not ask for, in versions of its time.
        ("torchquantum", "qiskit-ibm-runtime<0.21", "qiskit-aer<0.13", "setuptools<81", "torch==2.13.0"),
        workloads=("W1",),
    ),
}


def python_of(name: str) -> Path:
    """Returns the interpreter that runs the peer."""
    environment = PEERS[name].environment
    return PLACE / environment / "bin" / "python" if environment else Path(sys.executable)


def install(name: str, gpu: bool = False) -> str:
    """Makes the peer's environment unless it is there; returns '' or the reason why it could not be made."""
    peer = PEERS[name]
    if not peer.environment:
        return ""
    PLACE.mkdir(exist_ok=True)
    (PLACE / ".gitignore").write_text("*\n")
    folder, stamp = PLACE / peer.environment, PLACE / peer.environment / "bench-stamp"
    requirements = (*peer.requirements, *(peer.gpu if gpu else ()))
    wanted = hashlib.sha256(" ".join((sys.version, *requirements)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    print(f"setup: installing {name} into .bench/{peer.environment}", file=sys.stderr, flush=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, *requirements]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"not installed: pip took more than {INSTALL_SECONDS} s"
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if "ERROR" in line] or [done.stderr.strip()]
            return f"not installed: {lines[-1][:300]}"
    stamp.write_text(wanted)
    return ""
