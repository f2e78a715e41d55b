"""`--mode=explain`: what the head's circuit compiles to, and what a step of training costs; nothing is run."""

from pathlib import Path

from ml_collections import ConfigDict

from qjax import quantum
from qjax.checks import fail
from qjax.files import make_folder, write_text
from qjax.models.circuit_head import CircuitHead
from qjax.models.grover_head import GroverHead
from qjax.models.heads import HEADS, make_head
from qjax.modes.scoring import is_main_process
from qjax.modes.setup import HEAD_OPTIONS
from qjax.training.mesh import make_mesh
from qjax.training.step import check_batch_size

EXPLAIN_FILE = "explain.json"


def run(config: ConfigDict, workdir: str | Path | None) -> int:
    """Prints the explanation of the head's circuit, and writes it as WORKDIR/explain.json.

    Args:
      config: names a head with a circuit; its batch is that of one micro-batch on one device.
      workdir: where the file goes; None writes none.

    Returns:
      The exit status, 0.
    """
    head = make_circuit_head(config)
    examples, words = count_examples(config)
    explanation = quantum.explain(head.circuit(), batch=examples, observables=head.observables())
    if not is_main_process():
        return 0
    print(f"head      {config.head.name}: a count by a model, not a measurement")
    print(f"examples  {words}")
    print(explanation)
    if isinstance(head, GroverHead):
        print(f"rounds    {describe_rounds(head)}")
    if workdir is not None:
        path = Path(workdir, EXPLAIN_FILE)
        make_folder(workdir, argument="--workdir")
        write_text(path, explanation.to_json())
        print(f"written   {path}")
    return 0


def make_circuit_head(config: ConfigDict) -> CircuitHead:
    """Returns the configured head, refusing one without a circuit."""
    options = {name: config.head[name] for name in HEAD_OPTIONS[config.head.name]}
    if "rotations" in options:
        options["rotations"] = tuple(options["rotations"])
    # The circuit does not depend on the number of classes, which only the data tell.
    head = make_head(config.head.name, num_classes=2, **options)
    if not isinstance(head, CircuitHead):
        choices = [name for name, kind in HEADS.items() if issubclass(kind, CircuitHead)]
        fail("head.name", "name a head that has a circuit with --mode=explain", repr(config.head.name), choices)
    return head


def describe_rounds(head: GroverHead) -> str:
    """Returns in words what the rounds of amplification add to the circuit that is explained."""
    rounds = head.num_iterations
    circuit = next(iter(head.circuits().values()))
    gates = sum(circuit.counts().values())
    how = {
        "probabilities": "followed by the label's\n          probability alone, no pass over the state",
        "states": "a phase on the label state\n          and a reflection about the prepared state, 2 to 3 passes",
    }
    return (
        f"{rounds} a class, not in the figures above: each {how[head.simulation]};\n"
        f"          on a device {gates} gates a class, depth {circuit.depth()}"
    )


def count_examples(config: ConfigDict) -> tuple[int, str]:
    """Returns the number of examples that one run of the circuit takes on a device, and that in words."""
    train = config.train
    devices, parts = int(make_mesh(train.num_devices).size), train.gradient_accumulation
    check_batch_size(train.batch_size, num_devices=devices, num_micro_batches=parts)
    share = train.batch_size // (devices * parts)
    words = f"train.batch_size {train.batch_size} / ({devices} device(s) x {parts} micro-batch(es)) = {share}"
    if config.task != "entities":
        return share, words
    longest = next(length for length in config.data.bucket_lengths if length >= config.data.max_length)
    return share * longest, f"{words} sentences x {longest} words, padding included, at most"
