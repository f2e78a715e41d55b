"""Circuits and their simulation. Knows JAX and NumPy only."""

from types import ModuleType

from qjax.quantum.circuits.angle import Angle as Angle
from qjax.quantum.circuits.angle import Input as Input
from qjax.quantum.circuits.angle import Parameter as Parameter
from qjax.quantum.circuits.angle import constant as constant
from qjax.quantum.circuits.angle import input_angle as input_angle
from qjax.quantum.circuits.angle import parameter as parameter
from qjax.quantum.circuits.circuit import Circuit as Circuit
from qjax.quantum.circuits.custom_gates import barrier_gate as barrier_gate
from qjax.quantum.circuits.custom_gates import diagonal_gate as diagonal_gate
from qjax.quantum.circuits.custom_gates import pauli_rotation_gate as pauli_rotation_gate
from qjax.quantum.circuits.custom_gates import permutation_gate as permutation_gate
from qjax.quantum.circuits.custom_gates import unitary_gate as unitary_gate
from qjax.quantum.circuits.gate import Gate as Gate
from qjax.quantum.circuits.gates import GATES as GATES
from qjax.quantum.circuits.gates import gate as gate
from qjax.quantum.circuits.operation import Operation as Operation
from qjax.quantum.circuits.operation import operation as operation
from qjax.quantum.circuits.repeat import Repeat as Repeat
from qjax.quantum.compile.compiler import Program as Program
from qjax.quantum.compile.compiler import compile_circuit as compile_circuit
from qjax.quantum.engines.memory import device_bytes as device_bytes
from qjax.quantum.engines.memory import state_bytes as state_bytes
from qjax.quantum.engines.native.load import register_native_code as register_native_code
from qjax.quantum.explain import Explanation as Explanation
from qjax.quantum.explain import explain as explain
from qjax.quantum.gradients import free_angles as free_angles
from qjax.quantum.gradients import hessian as hessian
from qjax.quantum.gradients import parameter_shift as parameter_shift
from qjax.quantum.gradients import quantum_metric as quantum_metric
from qjax.quantum.gradients import shift_rule as shift_rule
from qjax.quantum.measure.entanglement import entropy as entropy
from qjax.quantum.measure.entanglement import fidelity as fidelity
from qjax.quantum.measure.entanglement import linear_entropy as linear_entropy
from qjax.quantum.measure.entanglement import mixed_fidelity as mixed_fidelity
from qjax.quantum.measure.entanglement import purity as purity
from qjax.quantum.measure.entanglement import uhlmann_fidelity as uhlmann_fidelity
from qjax.quantum.measure.observables import Hermitian as Hermitian
from qjax.quantum.measure.observables import Observable as Observable
from qjax.quantum.measure.observables import PauliString as PauliString
from qjax.quantum.measure.observables import PauliSum as PauliSum
from qjax.quantum.measure.observables import Projector as Projector
from qjax.quantum.measure.observables import z_observables as z_observables
from qjax.quantum.measure.reduced import postselect as postselect
from qjax.quantum.measure.reduced import reduced_density_matrix as reduced_density_matrix
from qjax.quantum.measure.samples import bitstrings as bitstrings
from qjax.quantum.measure.samples import counts as counts
from qjax.quantum.perceptron import activation as activation
from qjax.quantum.perceptron import apply_dissipative_layers as apply_dissipative_layers
from qjax.quantum.perceptron import controlled_rotations as controlled_rotations
from qjax.quantum.perceptron import dissipative_network as dissipative_network
from qjax.quantum.perceptron import heralded_state as heralded_state
from qjax.quantum.perceptron import measured_perceptron as measured_perceptron
from qjax.quantum.perceptron import repeat_until_success_perceptron as repeat_until_success_perceptron
from qjax.quantum.perceptron import success_probability as success_probability
from qjax.quantum.simulate import expectation as expectation
from qjax.quantum.simulate import probabilities as probabilities
from qjax.quantum.simulate import sample as sample
from qjax.quantum.simulate import state as state
from qjax.quantum.simulate import unitary as unitary
from qjax.quantum.templates.amplitude import amplitude_angles as amplitude_angles
from qjax.quantum.templates.amplitude import amplitude_encoding as amplitude_encoding
from qjax.quantum.templates.amplitude import amplitude_state as amplitude_state
from qjax.quantum.templates.amplitude import uniformly_controlled_rotation as uniformly_controlled_rotation
from qjax.quantum.templates.ansatz import data_reuploading as data_reuploading
from qjax.quantum.templates.ansatz import efficient_su2 as efficient_su2
from qjax.quantum.templates.ansatz import entangler_pairs as entangler_pairs
from qjax.quantum.templates.ansatz import excitation_preserving as excitation_preserving
from qjax.quantum.templates.ansatz import hardware_efficient as hardware_efficient
from qjax.quantum.templates.ansatz import real_amplitudes as real_amplitudes
from qjax.quantum.templates.ansatz import strongly_entangling as strongly_entangling
from qjax.quantum.templates.ansatz import two_local as two_local
from qjax.quantum.templates.encodings import angle_encoding as angle_encoding
from qjax.quantum.templates.encodings import basis_encoding as basis_encoding
from qjax.quantum.templates.encodings import basis_state as basis_state
from qjax.quantum.templates.encodings import dense_angle_encoding as dense_angle_encoding
from qjax.quantum.templates.encodings import entangler_blocks as entangler_blocks
from qjax.quantum.templates.encodings import iqp_encoding as iqp_encoding
from qjax.quantum.templates.encodings import pauli_feature_map as pauli_feature_map
from qjax.quantum.templates.encodings import zz_feature_map as zz_feature_map
from qjax.quantum.templates.evolution import hamiltonian_encoding as hamiltonian_encoding
from qjax.quantum.templates.evolution import hamiltonian_evolution as hamiltonian_evolution
from qjax.quantum.templates.evolution import hamiltonian_variational as hamiltonian_variational
from qjax.quantum.templates.evolution import pauli_rotation as pauli_rotation
from qjax.quantum.templates.evolution import qaoa as qaoa
from qjax.quantum.templates.initializers import identity_block as identity_block
from qjax.quantum.templates.initializers import init_identity_block as init_identity_block
from qjax.quantum.templates.initializers import init_normal as init_normal
from qjax.quantum.templates.initializers import init_params as init_params
from qjax.quantum.templates.initializers import init_small_angle as init_small_angle
from qjax.quantum.templates.initializers import init_uniform as init_uniform
from qjax.quantum.templates.matchgates import matchgate_layer as matchgate_layer
from qjax.quantum.templates.matchgates import orthogonal_pyramid as orthogonal_pyramid
from qjax.quantum.templates.matchgates import rbs as rbs
from qjax.quantum.templates.matchgates import unary_loader as unary_loader
from qjax.quantum.templates.matchgates import unary_loader_angles as unary_loader_angles
from qjax.quantum.templates.sim_circuits import sim_circuit as sim_circuit
from qjax.quantum.templates.tensor_networks import mera as mera
from qjax.quantum.templates.tensor_networks import mps as mps
from qjax.quantum.templates.tensor_networks import pooled_qubits as pooled_qubits
from qjax.quantum.templates.tensor_networks import pooling_block as pooling_block
from qjax.quantum.templates.tensor_networks import qcnn as qcnn
from qjax.quantum.templates.tensor_networks import qcnn_output_qubits as qcnn_output_qubits
from qjax.quantum.templates.tensor_networks import quantum_convolution as quantum_convolution
from qjax.quantum.templates.tensor_networks import quantum_pooling as quantum_pooling
from qjax.quantum.templates.tensor_networks import ry_cx_block as ry_cx_block
from qjax.quantum.templates.tensor_networks import su4_block as su4_block
from qjax.quantum.templates.tensor_networks import tree_tensor_network as tree_tensor_network
from qjax.quantum.variances import covariance as covariance
from qjax.quantum.variances import variance as variance


def __dir__() -> list[str]:
    """Returns the public names: Python would list the modules, which are no part of the interface."""
    return sorted(
        n
        for n, x in globals().items()
        if not n.startswith("_") and x is not ModuleType and not isinstance(x, ModuleType)
    )
