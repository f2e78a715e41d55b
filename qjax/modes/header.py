"""What a run says about itself before it trains."""

from collections.abc import Sequence
from typing import Any

from qjax.data import Dataset
from qjax.models.circuit_head import CircuitHead
from qjax.models.grover_head import GroverHead, first_maximum
from qjax.modes.description import describe_devices
from qjax.modes.scoring import is_main_process
from qjax.modes.setup import Run
from qjax.training.state import count_params, merge_params


def header(run: Run, dataset: Dataset, *, params: Any, frozen: Any) -> str:
    """Returns the lines: devices, data sizes, parameter counts, circuit."""
    config = run.config
    sizes = ", ".join(f"{name} {len(indices)}" for name, indices in dataset.splits.items())
    everything = merge_params(params, frozen)
    encoder = count_params(run.encoder.params)
    trained = count_params(params.get("encoder", {}))
    head = everything["head"]
    lines = [
        f"devices   {describe_devices(run)}, step by {config.train.parallel}",
        f"data      {dataset.name}: {sizes}; {len(run.info.label_names)} labels: {_shortened(run.info.label_names)}",
        *(f"          {note}" for note in dataset.notes),
        f"encoder   {config.encoder.checkpoint}: {encoder:,} parameters, {trained:,} trained",
        f"head      {config.head.name}: {count_params(head):,} parameters",
    ]
    if isinstance(run.model.head, CircuitHead):
        circuits = list(run.model.head.circuits().values())
        circuit, each = circuits[0], f"; {len(circuits)} of them" if len(circuits) > 1 else ""
        angles = count_params(head["quantum"])
        gates = ", ".join(f"{count} {name}" for name, count in sorted(circuit.counts().items()))
        lines.append(
            f"circuit   {circuit.num_qubits} qubits, depth {circuit.depth()}, {angles} trained angles; "
            f"gates: {gates}{each}"
        )
    if isinstance(run.model.head, GroverHead):
        lines.append(f"amplify   {_amplification(run.model.head)}")
    return "\n".join(lines)


def _amplification(head: GroverHead) -> str:
    rounds, uniform = head.num_iterations, 2.0 ** -len(head.label_qubits())
    return (
        f"{rounds} round(s) a class, phases {head.phases}; fixed phases take a probability of "
        f"{first_maximum(rounds):.3f} to 1, and an even distribution gives each label {uniform:.3f}"
    )


def _shortened(names: tuple[str, ...], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f", ... ({rest} more)" if rest > 0 else "")


def print_header(run: Run, dataset: Dataset, *, params: Any, frozen: Any) -> None:
    """Prints the header, on one process."""
    if is_main_process():
        print(header(run, dataset, params=params, frozen=frozen), flush=True)


def print_cut(run: Run, num_cut: int, items: Sequence[Any]) -> None:
    """Says how much of the texts, or of the words of sentences, was cut, and what to do where it is most."""
    if not num_cut or not is_main_process():
        return
    words = run.config.task == "entities"
    total = sum(map(len, items)) if words else len(items)
    length, most = run.config.data.max_length, run.encoder.config.max_position_embeddings
    print(f"cut       {num_cut} of {total} {'words' if words else 'texts'} by data.max_length = {length} word pieces")
    if 2 * num_cut > total and length < most:
        print(f"          most of them: a new run with a larger data.max_length (at most {most}) reads more of each")
