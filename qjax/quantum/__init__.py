"""Circuits and their simulation. Knows JAX and NumPy only."""

from qjax.quantum.angle import Angle as Angle
from qjax.quantum.angle import Input as Input
from qjax.quantum.angle import Parameter as Parameter
from qjax.quantum.angle import constant as constant
from qjax.quantum.angle import input_angle as input_angle
from qjax.quantum.angle import parameter as parameter
from qjax.quantum.ansatz import hardware_efficient as hardware_efficient
from qjax.quantum.ansatz import init_params as init_params
from qjax.quantum.circuit import Circuit as Circuit
from qjax.quantum.circuit import Operation as Operation
from qjax.quantum.circuit import Repeat as Repeat
from qjax.quantum.circuit import operation as operation
from qjax.quantum.encodings import angle_encoding as angle_encoding
from qjax.quantum.gates import GATES as GATES
from qjax.quantum.gates import Gate as Gate
from qjax.quantum.gates import gate as gate
from qjax.quantum.observables import Observable as Observable
from qjax.quantum.observables import PauliString as PauliString
from qjax.quantum.observables import PauliSum as PauliSum
from qjax.quantum.observables import z_observables as z_observables
from qjax.quantum.program import Program as Program
from qjax.quantum.program import compile_circuit as compile_circuit
from qjax.quantum.simulate import expectation as expectation
from qjax.quantum.simulate import probabilities as probabilities
from qjax.quantum.simulate import sample as sample
from qjax.quantum.simulate import state as state
