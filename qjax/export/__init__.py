"""Export to Qiskit: circuits, files, validation. Qiskit lives here only and is imported when a function is called."""

from qjax.export.circuits import from_qiskit_state as from_qiskit_state
from qjax.export.circuits import to_qiskit as to_qiskit
from qjax.export.circuits import to_qiskit_observable as to_qiskit_observable
from qjax.export.circuits import to_qiskit_state as to_qiskit_state
from qjax.export.files import read_circuits as read_circuits
from qjax.export.files import to_openqasm as to_openqasm
from qjax.export.files import write_circuits as write_circuits
from qjax.export.validation import validate as validate
