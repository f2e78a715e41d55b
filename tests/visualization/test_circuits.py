"""Pictures of circuits hold every gate once, every text fits where it stands, and files are what was asked for."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Circle

from qjax.checks import UserError
from qjax.quantum.circuits.angle import input_angle, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import barrier_gate, pauli_rotation_gate, unitary_gate
from qjax.quantum.circuits.repeat import Repeat
from qjax.visualization.circuits import draw_circuit

W, X = parameter, input_angle


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects each figure at the moment it is saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def artists(figure: Figure, gid: str) -> list[Artist]:
    return [artist for artist in figure.axes[0].get_children() if artist.get_gid() == gid]


def count(figure: Figure) -> dict[str, int]:
    """Number of artists of each kind."""
    gids = (artist.get_gid() for artist in figure.axes[0].get_children())
    return dict(Counter(gid for gid in gids if gid is not None))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def marks() -> Circuit:
    return (
        Circuit(4)
        .append("h", 0)
        .append("cx", (0, 2))
        .append("swap", (1, 3))
        .append("cz", (1, 0))
        .append(barrier_gate(3), (0, 1, 2))
        .append("ecr", (2, 1))
        .append("rzx", (0, 3), np.pi / 2)
        .append("ry", 3, X(0) * W("a"), controls=(0, 1), control_values=(1, 0))
        .append(pauli_rotation_gate("XZY"), (0, 1, 3), W("t"))
        .append("gphase", (), 0.7, controls=(1, 2), control_values=(1, 0))
        .append(unitary_gate(np.eye(4)), (0, 2))
        .append("p", 1, -2 * X(1))
    )


def layers(num_qubits: int, reps: int) -> Circuit:
    encoding, layer = Circuit(num_qubits), Circuit(num_qubits)
    for q in range(num_qubits):
        encoding = encoding.append("ry", q, X(q))
        layer = layer.append("ry", q, W("ansatz", q, 0)).append("rz", q, W("ansatz", q, 1))
    for q in range(num_qubits - 1):
        layer = layer.append("cx", (q, q + 1))
    return encoding + Circuit(num_qubits, (Repeat(layer, reps),))


def test_every_mark_is_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    draw_circuit(marks(), tmp_path / "circuit.png", title="all of them", width=30)
    assert count(figures[0]) == {
        "box": 1 + 1 + 2 + 1 + 3 + 2 + 1,  # h, ecr in one, rzx in two, ry, letters, unitary in two, p
        "control": 1 + 2 + 1 + 1,  # cx, cz, ry, gphase
        "open": 2,
        "target": 1,
        "cross": 2,
        "barrier": 3,
        "legend": 3,
    }
    assert isinstance(artists(figures[0], "target")[0], Circle)
    faces = {kind: {dot.get_facecolor() for dot in artists(figures[0], kind)} for kind in ("control", "open")}  # type: ignore[attr-defined]
    assert faces["open"] == {(1.0, 1.0, 1.0, 1.0)}
    assert not faces["open"] & faces["control"]
    shown = texts(figures[0])
    assert shown[:5] == ["all of them", "q0", "q1", "q2", "q3"]
    for text, times in [("H", 1), ("ECR", 1), ("RZX", 2), ("π/2", 2), ("x[0]·a", 1), ("RX", 1), ("t", 3)]:
        assert shown.count(text) == times
    assert {"phase 0.7", "Unitary", "−2·x[1]", "input", "trainable", "input and trainable"} <= set(shown)


def test_small_numbers_say_which_qubit_is_where(tmp_path: Path, figures: list[Figure]) -> None:
    draw_circuit(Circuit(2).append("ecr", (1, 0)).append("rzz", (0, 1), 0.1), tmp_path / "circuit.png")
    heights = {text.get_text(): text.get_position()[1] for text in figures[0].axes[0].texts}
    assert heights["q0"] < heights["q1"]
    assert heights["0"] == heights["q1"]
    assert heights["1"] == heights["q0"]
    assert sorted(texts(figures[0])) == sorted(["q0", "q1", "0", "1", "ECR", "RZZ", "0.1"])


@pytest.mark.parametrize(("width", "rows"), [(30.0, 1), (4.5, 2)])
def test_a_long_circuit_goes_on_in_the_next_row(
    width: float, rows: int, tmp_path: Path, figures: list[Figure]
) -> None:
    circuit = layers(5, reps=3)
    draw_circuit(circuit, tmp_path / "circuit.png", width=width)
    figure = figures[0]
    assert texts(figure).count("q4") == rows
    assert count(figure) == {"box": 15, "control": 4, "target": 4, "bracket": 2, "repeat": rows, "legend": 2}
    assert texts(figure).count("×3") == 1
    assert figure.get_size_inches()[0] <= width
    pixels = imread(tmp_path / "circuit.png").shape
    np.testing.assert_allclose(pixels[:2], figure.get_size_inches()[::-1] * 150, atol=1)


def test_repeats_inside_repeats_are_shaded_one_over_the_other(tmp_path: Path, figures: list[Figure]) -> None:
    inner = Repeat(Circuit(2).append("rx", 0, W("w")).append("gphase", (), 0.3), 4, shared=True)
    outer = Repeat(Circuit(2, (inner,)).append("cz", (0, 1)), 3, reverse=True)
    draw_circuit(Circuit(2, (outer,)), tmp_path / "circuit.png")
    first, second = (band.get_window_extent() for band in artists(figures[0], "repeat"))
    assert count(figures[0])["bracket"] == 4
    assert second.x0 < first.x0 < first.x1 < second.x1
    assert {"×4 shared", "×3 rev", "global phase: 3 x [4 x [0.3]]"} <= set(texts(figures[0]))


def test_a_row_does_not_end_with_the_start_of_a_repeat(tmp_path: Path, figures: list[Figure]) -> None:
    for length in range(4, 8):  # somewhere among them the row is full just before the first gate of the Repeat
        circuit = Circuit(1)
        for _ in range(length):
            circuit = circuit.append("h", 0)
        draw_circuit(circuit + layers(1, reps=2), tmp_path / "circuit.png", width=4)
    assert {texts(figure).count("q0") for figure in figures} == {2, 3}
    for figure in figures:
        left = max(box.get_window_extent().x1 for box in artists(figure, "box"))
        starts = [line for line in artists(figure, "bracket") if line.get_xdata()[0] > line.get_xdata()[1]]  # type: ignore[attr-defined]
        assert starts
        assert all(line.get_window_extent().x0 < left for line in starts)


def test_long_angles_are_wrapped_and_cut(tmp_path: Path, figures: list[Figure]) -> None:
    angle = (W("alpha", 0) - X(0)) * (W("beta", 10) + X(1)) + 0.123456789
    draw_circuit(Circuit(1).append("rx", 0, angle).append("u", 0, 1e-5, W("b"), 3), tmp_path / "circuit.png")
    shown = texts(figures[0])
    assert shown[1:4] == ["RX", "−x[0]·x[1]", "−x[0]·beta[10]…"]
    assert shown[4:6] == ["U", "1e−05,b,3"]


def named(num: int) -> Circuit:
    """Texts of many lengths, in boxes, in tall boxes, with places, and at controls."""
    angle = W("$a$" * num) * X(0) + 0.25
    circuit = Circuit(3).append("rx", 0, angle).append("rzx", (0, 1), angle).append("u", 2, angle, angle, W("b"))
    return circuit.append("xx_plus_yy", (2, 0), 1e-5, -W("b")).append("rccx", (0, 1, 2))


@pytest.mark.parametrize("circuit", [marks(), layers(3, 2), named(1), named(9)])
def test_texts_fit_in_their_boxes_and_in_the_picture(circuit: Circuit, tmp_path: Path, figures: list[Figure]) -> None:
    draw_circuit(circuit, tmp_path / "circuit.png", title="title", width=6)
    figure = figures[0]
    boxes = [box.get_window_extent() for box in artists(figure, "box")]
    whole = figure.bbox
    inside = 0
    extents = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for i, extent in enumerate(extents):
        assert not any(extent.padded(-1.5).overlaps(other) for other in extents[i + 1 :])
        assert whole.x0 <= extent.x0 <= extent.x1 <= whole.x1
        assert whole.y0 <= extent.y0 <= extent.y1 <= whole.y1
        middle = ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
        for box in (box for box in boxes if box.contains(*middle)):
            inside += 1
            assert box.x0 < extent.x0 < extent.x1 < box.x1
            assert box.y0 < extent.y0 < extent.y1 < box.y1
    assert inside >= len(boxes)
    for i, first in enumerate(boxes):
        assert not any(first.overlaps(second) for second in boxes[i + 1 :])


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")])
def test_the_suffix_says_the_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"circuit.{suffix}"
    draw_circuit(marks(), path)
    assert path.read_bytes().startswith(start)


def test_a_circuit_without_gates(tmp_path: Path, figures: list[Figure]) -> None:
    draw_circuit(Circuit(2), str(tmp_path / "circuit.png"))
    assert texts(figures[0]) == ["q0", "q1"]
    assert count(figures[0]) == {}


@pytest.mark.parametrize(
    ("circuit", "name", "width", "message"),
    [
        (
            Circuit(2),
            "circuit.pmg",
            10,
            "`path` must end in a format that matplotlib writes, but got 'pmg'. Did you mean",
        ),
        (Circuit(2), "missing/circuit.png", 10, "`path` must lie in a folder that exists, but got .*missing"),
        (Circuit(2), "circuit", 10, "`path` must end in a format that matplotlib writes, but got ''"),
        (Circuit(2), "circuit.png", 3, "`width` must be between 4 and 400 inches, but got 3"),
        (Circuit(2), "circuit.png", 401, "`width` must be between 4 and 400 inches, but got 401"),
        (
            Circuit(700).append("h", 0),
            "circuit.png",
            10,
            r"`circuit` must fit in a picture 400 inches high, but got 43\d inches",
        ),
    ],
)
def test_mistakes(circuit: Circuit, name: str, width: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        draw_circuit(circuit, tmp_path / name, width=width)
    assert not list(tmp_path.iterdir())
