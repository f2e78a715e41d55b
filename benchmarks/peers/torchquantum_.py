"""TorchQuantum: a batch of states in PyTorch, complex64, gradients by autograd. Run where it can be imported at all.

It imports torchvision and parts of Qiskit that it does not use here and that move faster than it does. The gate
functions of `torchquantum.functional` act on a batch; qubit 0 is the most significant bit.
"""

import os
from typing import Any

import numpy as np
import torch
import torchquantum as tq
import torchquantum.functional as tqf

from benchmarks.case import Case
from benchmarks.peers.base import Form, Run, Unsupported, values_of, versions_of
from benchmarks.peers.signs import signs_of

_TURNS = {"rx": tqf.rx, "ry": tqf.ry, "rz": tqf.rz}


def versions() -> dict[str, str]:
    return versions_of("torchquantum", "torch", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind not in ("expectation", "gradient", "gradient_inputs") or not case.batch:
        raise Unsupported("only batches of expectations and gradients are written for it")
    return {"functional": _loss}


def _loss(case: Case) -> Run:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    differentiated = case.kind != "expectation"
    weights = torch.tensor(case.weights, dtype=torch.float32, requires_grad=differentiated)
    inputs = torch.tensor(case.inputs, dtype=torch.float32, requires_grad=case.kind == "gradient_inputs")
    signs = torch.tensor(signs_of(case), dtype=torch.float32)
    coefficients = torch.tensor(case.coefficients, dtype=torch.float32)

    def measured() -> Any:
        device = tq.QuantumDevice(n_wires=case.num_qubits, bsz=case.batch)
        columns = inputs.T
        for op in case.operations:
            if op.gate in _TURNS:
                angle = values_of(op, weights, columns)[0]
                _TURNS[op.gate](device, wires=op.qubits[0], params=angle.expand(case.batch).reshape(-1, 1))
            elif op.gate == "cx":
                tqf.cnot(device, wires=list(op.qubits))
            else:
                raise Unsupported(f"the gate {op.gate} is not written for it")
        return device.get_states_1d().abs().square() @ signs

    def call() -> Any:
        if not differentiated:
            with torch.no_grad():
                return measured()
        weights.grad = inputs.grad = None
        loss = (measured() @ coefficients).mean()
        loss.backward()
        return loss.detach()

    def result(out: Any) -> dict[str, np.ndarray]:
        if not differentiated:
            return {"expectations": out.numpy()}
        named = {"value": out.numpy(), "weights": weights.grad.numpy()}
        return named | ({"inputs": inputs.grad.numpy()} if inputs.grad is not None else {})

    return Run(call, result)
