"""`--mode=algorithm` and the export of its runs, as main.py runs them, against closed forms and dense algebra."""

import contextlib
import io
import json
import math
import re
import sys

import jax
import numpy as np
import pytest
from running import ROOT

from qjax import algorithm_schema
from qjax import main as command
from qjax.config import from_json, load_config, record_reads, save_config, to_json, validate
from qjax.config_schema import flatten
from qjax.modes import algorithm
from qjax.modes.algorithms import ALGORITHMS, counting, grover, minimum, outcome
from qjax.training import progress
from qjax.visualization import plot_success

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
NAMES = list(ALGORITHMS)
TINY = f"--config={ROOT / 'configs' / 'tiny.py'}"

# Small runs of every kind, whose circuits Aer can run in no time.
SMALL = {
    "grover": {"num_qubits": 4, "marked": "3,9", "shots": 50},
    "shor": {"number": 15, "num_counting_qubits": 4, "simulation": "direct"},
    "phase_estimation": {"num_precision_qubits": 4, "shots": 50},
    "counting": {"num_qubits": 3, "marked": "1,2,6", "num_precision_qubits": 3, "shots": 50},
    "minimum": {"table": "5,2.5,7,-1,3", "shots": 3},
}


def path_of(name):
    return ROOT / "configs" / "algorithms" / f"{name}.py"


def run(name, workdir=None, **changes):
    """Runs main.py in this process and returns its status."""
    arguments = [f"--config={path_of(name)}"] if name else []
    arguments += [f"--workdir={workdir}"] if workdir else []
    return command.main(["--mode=algorithm", *arguments, *(f"--config.{k}={v}" for k, v in changes.items())])


def result_of(name, workdir, **changes):
    assert run(name, workdir, **changes) == 0
    return json.loads((workdir / "result.json").read_text())


def refused(capsys, status):
    out, err = capsys.readouterr()
    assert status == 2
    assert err.startswith("error: Argument `")
    assert err.count("\n") == 1
    assert "written" not in out
    return err


# Grover. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_qubits", "marked", "num_iterations"), [(6, (0, 17, 63), -1), (5, (2, 3), 9), (4, (1,), 0)]
)
def test_grover_gives_the_closed_form(tmp_path, num_qubits, marked, num_iterations):
    result = result_of("grover", tmp_path, num_qubits=num_qubits, marked=marked, num_iterations=num_iterations)
    theta = math.asin(math.sqrt(len(marked) / 2**num_qubits))
    count = num_iterations if num_iterations >= 0 else math.floor(math.pi / (4 * theta))
    curve = [math.sin((2 * k + 1) * theta) ** 2 for k in range(count + 1)]
    assert (result["num_qubits"], tuple(result["marked"]), result["num_iterations"]) == (num_qubits, marked, count)
    np.testing.assert_allclose(result["success_probabilities"], curve, atol=1e-6)
    assert result["success_probability"] == result["success_probabilities"][-1]
    assert result["theory"] == pytest.approx(curve[-1], abs=1e-12)
    assert result["classical_queries"] == (2**num_qubits + 1) / (len(marked) + 1)
    assert result["queries_to_success"] == pytest.approx((count + 1) / curve[-1], rel=1e-4)
    spread = 5 * math.sqrt(curve[-1] * (1 - curve[-1]) * 1000) + 1
    assert abs(result["hits"] - 1000 * curve[-1]) < spread
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "result.json", "success.png"]
    assert (tmp_path / "success.png").read_bytes().startswith(b"\x89PNG")


def test_bitstrings_are_indices(tmp_path):
    result = result_of("grover", tmp_path, num_qubits=3, marked="('110', '001')")
    assert result["marked"] == [1, 6]


def test_what_a_person_sees(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("grover", num_qubits=10) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("qubits    10")
    assert lines[2].startswith("memory    9.0 KiB at most for the simulation; this device has ")
    assert lines[3] == "workdir   none: nothing is saved"
    assert lines[5] == "1 of 1,024 states marked, 25 iterations"
    assert re.search(r"^success probability +0\.9994\d\d +0\.999461 +sin", "\n".join(lines), re.M)
    assert re.search(r"^queries until success +26\.0 +26\.0 +512\.5 ", "\n".join(lines), re.M)
    assert list(tmp_path.iterdir()) == []


def test_a_long_run_shows_its_progress_and_a_short_one_none(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run("grover", num_qubits=3, num_iterations=25)
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(outcome, "SECONDS_WITHOUT_BAR", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    run("grover", num_qubits=3, num_iterations=25)
    assert re.fullmatch(r"run       100%  25/25 iterations.*\n", sys.stderr.getvalue())


def test_a_search_tells_the_bar_how_far_it_is(monkeypatch):
    told = []

    class Bar(contextlib.nullcontext):
        def __enter__(self):
            return self

        def update(self, count):
            told.append(count)

    monkeypatch.setattr(grover, "progress", lambda total, unit: told.append((total, unit)) or Bar())
    run("grover", num_qubits=3, num_iterations=25)
    assert told == [(25, "iteration"), 25]


# Searches that do not know how many states are marked. -------------------------------------------------------------


@pytest.mark.parametrize(("num_qubits", "num_marked"), [(4, 1), (6, 5), (8, 40)])
def test_chances_of_an_unknown_search_are_those_of_lemma_2(num_qubits, num_marked):
    chances, queries = grover.unknown_search_theory(num_qubits, num_marked)
    theta = math.asin(math.sqrt(num_marked / 2**num_qubits))
    bounds = 2 * queries - 1
    expected = 0.5 - np.sin(4 * bounds * theta) / (4 * bounds * math.sin(2 * theta))
    np.testing.assert_allclose(chances, expected, atol=1e-12)
    assert queries[0] == 1
    assert np.all(np.diff(queries) >= 0)
    assert np.all(bounds <= math.ceil(math.sqrt(2**num_qubits)))
    assert np.count_nonzero(bounds == bounds[-1]) >= 32


def test_unknown_searches_take_the_queries_of_theory(tmp_path, capsys):
    result = result_of("grover", tmp_path, num_qubits=6, marked=(11, 50), search="unknown", shots=150)
    chances, costs = grover.unknown_search_theory(6, 2)
    draws = np.random.default_rng(0).random((4000, len(chances))) < chances
    runs = np.argmax(draws, axis=1)
    simulated = np.cumsum(costs)[runs]
    assert result["expected_queries"] == pytest.approx(simulated.mean(), abs=5 * simulated.std() / math.sqrt(4000))
    assert result["queries"] == pytest.approx(result["expected_queries"], rel=0.3)
    assert set(result["answers"]) == {11, 50}
    assert result["success_probability"] == 1.0
    assert result["theory"] == pytest.approx(1 - np.prod(1 - chances))
    assert result["classical_queries"] == 65 / 3
    assert {"num_qubits", "marked", "num_iterations"} <= set(result)
    assert (tmp_path / "success.png").exists()
    assert "their number not used; 150 searches" in capsys.readouterr().out


# Shor. -------------------------------------------------------------------------------------------------------------


def test_shor_factors_15_by_its_circuit(tmp_path, capsys):
    result = result_of("shor", tmp_path)
    assert (result["factors"], result["answered_by"], result["num_qubits"]) == ([3, 5], "order finding", 12)
    # Four of the six bases have order 4, found from 3 of 4 outcomes; two have order 2, found from 1 of 2.
    assert result["theory"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2) / 6)
    assert result["expected_attempts"] == pytest.approx(1.5)
    last = result["attempts"][-1]
    assert pow(last["base"], last["order"], 15) == 1
    assert result["queries"] == 8 * result["num_runs"]
    out = capsys.readouterr().out
    assert "15 = 3 x 5" in out
    assert "qubits    12 (8 counting and 4 work qubits)\nmemory    96.0 KiB at most" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "result.json"]


def test_a_number_that_is_not_factored_says_so_and_gives_status_1(tmp_path, capsys):
    statuses = []
    for seed in range(30):  # an attempt fails in one of three
        workdir = tmp_path / str(seed)
        statuses.append(run("shor", workdir, seed=seed, simulation="direct", max_attempts=1))
        out = capsys.readouterr().out
        result = json.loads((workdir / "result.json").read_text())
        assert ("15 was not factored in 1 attempts" in out) == (statuses[-1] == 1) == (result["factors"] == [])
        if set(statuses) == {0, 1}:
            return
    pytest.fail(f"statuses {statuses}")


@pytest.mark.parametrize(
    ("number", "factors", "words"), [(97, [97], "97 is prime"), (22, [2, 11], "even"), (27, [3, 3, 3], "prime power")]
)
def test_numbers_that_are_answered_classically(tmp_path, capsys, number, factors, words):
    result = result_of("shor", tmp_path, number=number)
    assert (result["factors"], result["num_runs"]) == (factors, 0)
    out = capsys.readouterr().out
    assert "qubits    0 (an even number, a prime or a prime power: answered classically)" in out
    assert words in out
    assert command.main(["--mode=export", f"--workdir={tmp_path}"]) == 2
    assert "must be used with a number that needed order finding" in capsys.readouterr().err


def test_a_lucky_base_counts_where_it_may(tmp_path):
    by = set()
    for seed in range(20):
        result = result_of(
            "shor", tmp_path / str(seed), seed=seed, number=33, simulation="direct", use_lucky_gcd=True
        )
        by.add(result["answered_by"])
        if by == {"gcd", "order finding"}:
            return
    pytest.fail(f"answered by {by}")


# Phase estimation, counting, minimum. ------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "t"), [(0.3, 5), (0.999, 4)])
def test_phase_estimation_gives_the_closed_form(tmp_path, phase, t):
    result = result_of("phase_estimation", tmp_path, phase=phase, num_precision_qubits=t)
    size = 2**t
    amplitudes = np.exp(2j * np.pi * np.outer(np.arange(size), phase - np.arange(size) / size)).sum(axis=0) / size
    probabilities = np.abs(amplitudes) ** 2
    assert result["best_outcome"] == np.argmax(probabilities)
    assert result["success_probability"] == pytest.approx(probabilities.max(), abs=1e-5)
    assert result["theory"] == pytest.approx(probabilities.max(), abs=1e-12)
    assert result["estimate"] == np.argmax(probabilities) / size
    assert result["error"] <= 0.5 / size + 1e-12
    assert result["largest_difference"] < 1e-5
    assert result["queries"] == size - 1
    assert result["classical_queries"] == math.ceil(size**2 / math.pi**2)


def test_counting_gives_what_dense_algebra_gives(tmp_path):
    marked, n, p = (1, 2, 6), 3, 4
    result = result_of("counting", tmp_path, num_qubits=n, marked=marked, num_precision_qubits=p)
    start = np.full(8, 8**-0.5)
    oracle = np.diag([-1.0 if i in marked else 1.0 for i in range(8)])
    operator = (2 * np.outer(start, start) - np.eye(8)) @ oracle
    vectors = np.stack([np.linalg.matrix_power(operator, j) @ start for j in range(2**p)])
    probabilities = (np.abs(np.fft.fft(vectors, axis=0)) ** 2).sum(axis=1) / 4**p
    estimates = 8 * np.sin(np.pi * np.arange(2**p) / 2**p) ** 2
    bound = 2 * np.pi * math.sqrt(3 * 5) / 2**p + np.pi**2 * 8 / 4**p
    within = np.abs(estimates - 3) <= bound
    assert result["error_bound"] == pytest.approx(bound)
    assert result["success_probability"] == pytest.approx(probabilities[within].sum(), abs=1e-5)
    assert result["theory"] == pytest.approx(probabilities[within].sum(), abs=1e-9)
    assert result["theory"] >= result["confidence"] == 8 / math.pi**2
    np.testing.assert_allclose(counting.count_distribution(n, 3, p), probabilities, atol=1e-12)
    assert result["largest_difference"] < 1e-5
    assert abs(result["estimate"] - 3) <= bound
    assert (result["count"], result["queries"]) == (3, 15)


def test_minimum_of_a_given_table_and_its_ledger(tmp_path, capsys):
    table = (5, 2.5, 7, -1, 3)
    result = result_of("minimum", tmp_path, table=table, shots=10)
    assert (result["minimum"], result["num_values"], result["num_qubits"]) == (-1, 5, 3)
    assert (result["index"], result["value"]) == (3, -1)
    assert result["num_queries"] == sum(step["num_queries"] for step in result["steps"]) <= result["query_bound"]
    assert result["query_bound"] == math.floor(22.5 * math.sqrt(8) + 1.4 * 9)
    for step, after in zip(result["steps"], result["steps"][1:], strict=False):
        assert step["threshold"] == table[step["threshold_index"]] > table[step["found"]]
        assert after["threshold_index"] == step["found"]
        assert step["num_queries"] == sum(step["iterations"]) + len(step["iterations"])
    assert result["classical_queries"] == 4
    assert result["success_probability"] >= result["theory"] == 0.5
    assert "ledger of the first run:" in capsys.readouterr().out


def test_exported_searches_amplify_what_is_below_the_threshold(tmp_path):
    result = result_of("minimum", tmp_path, table=(4, 0, 3, 1, 2), seed=1, shots=1)
    config = validate(from_json((tmp_path / "config.json").read_text()))
    exported = minimum.circuits(config, result)
    steps = [step for step in result["steps"] if step["iterations"]]
    assert len(exported.circuits) == len(steps) >= 2
    for step, amplitudes in zip(steps, exported.states, strict=True):
        below = np.array([value < step["threshold"] for value in (4, 0, 3, 1, 2)] + [False] * 3)
        theta = math.asin(math.sqrt(below.sum() / 8))
        expected = math.sin((2 * step["iterations"][-1] + 1) * theta) ** 2
        assert (np.abs(amplitudes[below]) ** 2).sum() == pytest.approx(expected, abs=1e-6)


def test_a_random_table_is_drawn_from_the_seed(tmp_path):
    results = [result_of("minimum", tmp_path / str(s), num_values=9, shots=1, seed=s) for s in (0, 1)]
    assert [result["minimum"] for result in results] == [0, 0]
    assert results[0]["steps"] != results[1]["steps"]


# Workdirs. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_run_again_gives_the_same_files_and_exports(name, tmp_path, capsys):
    result_of(name, tmp_path, **SMALL[name])
    before = (tmp_path / "result.json").read_bytes(), (tmp_path / "config.json").read_bytes()
    assert run(name, tmp_path, **SMALL[name]) == 0
    assert run(None, tmp_path) == 0  # of what the workdir holds
    assert ((tmp_path / "result.json").read_bytes(), (tmp_path / "config.json").read_bytes()) == before
    assert {"algorithm", "seed", "success_probability", "theory"} <= set(json.loads(before[0]))
    assert run(name, tmp_path, **SMALL[name], seed=1) == 2
    err = capsys.readouterr().err
    assert "`--config` must agree with the config.json" in err
    assert "seed 1 (saved: 0)" in err
    assert command.main(["--mode=export", f"--workdir={tmp_path}"]) == 0
    validation = json.loads((tmp_path / "export" / "validation.json").read_text())
    assert validation["passed"] is True
    assert validation["largest_amplitude_difference"] < 1e-5
    circuits = [row["name"] for row in validation["per_circuit"]]
    files = {"circuits.qpy", "circuit.txt", "circuit.png", "validation.json", *(f"{c}.qasm" for c in circuits)}
    assert {path.name for path in (tmp_path / "export").iterdir()} == files
    assert "validation passed" in capsys.readouterr().out


def test_the_exported_search_finds_what_the_run_found(tmp_path):
    result = result_of("grover", tmp_path, **SMALL["grover"])
    assert command.main(["--mode=export", f"--workdir={tmp_path}"]) == 0
    (row,) = json.loads((tmp_path / "export" / "validation.json").read_text())["per_circuit"]
    # 3 is 0011 and 9 is 1001: qubit 2 tells them apart, and with probability p the last one is 1 in both.
    p, rest = result["success_probability"], (1 - result["success_probability"]) / 14
    assert (1 - row["shot_means"][3]) / 2 == pytest.approx(p + 6 * rest, abs=0.03)


@pytest.mark.parametrize("change", ["state", "result"])
def test_an_export_that_disagrees_gives_status_1(tmp_path, monkeypatch, capsys, change):
    result_of("grover", tmp_path, **SMALL["grover"])
    if change == "state":
        real = grover.search
        monkeypatch.setattr(grover, "search", lambda n, marked, count: real(n, marked, count + 1))
        assert command.main(["--mode=export", f"--workdir={tmp_path}"]) == 1
        assert "validation FAILED" in capsys.readouterr().out
    else:
        (tmp_path / "result.json").unlink()
        capsys.readouterr()
        err = refused(capsys, command.main(["--mode=export", f"--workdir={tmp_path}"]))
        assert "`--workdir` must hold the result.json of a run of --mode=algorithm" in err


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("grover", {"num_qubits": 21, "num_iterations": 0}, "must export at most 20 qubits, but got 21 for 'grover'"),
        (
            "grover",
            {"num_qubits": 4, "num_iterations": 2000},
            r"must export at most 5,000 gates .*got \d\d,\d{3} gates",
        ),
    ],
)
def test_circuits_that_are_too_much_to_export(tmp_path, capsys, name, changes, message):
    assert run(name, tmp_path, **changes) == 0
    capsys.readouterr()
    assert re.search(message, refused(capsys, command.main(["--mode=export", f"--workdir={tmp_path}"])))
    assert not (tmp_path / "export").exists()


def test_workdirs_of_something_else_are_refused(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert "holds thesis.txt" in refused(capsys, run("grover", tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    assert "be a folder that can be written to" in refused(capsys, run("grover", tmp_path / "file"))
    assert run("phase_estimation", tmp_path / "phase", **SMALL["phase_estimation"]) == 0
    capsys.readouterr()
    err = refused(capsys, run("grover", tmp_path / "phase"))
    assert "must hold nothing or a run of grover, but got" in err
    assert "which holds a run of phase_estimation" in err
    save_config(load_config(ROOT / "configs" / "tiny.py"), tmp_path / "trained")
    assert "which holds a training run" in refused(capsys, run("grover", tmp_path / "trained"))
    assert "which holds a training run" in refused(capsys, run(None, tmp_path / "trained"))
    status = command.main([TINY, f"--workdir={tmp_path / 'phase'}"])
    assert "must hold nothing or a training run, but got" in refused(capsys, status)
    assert run("grover", tmp_path / "a" / "new", num_qubits=3) == 0


def test_a_refused_run_leaves_the_workdir_free(tmp_path, capsys):
    refused(capsys, run("grover", tmp_path, num_qubits=3, marked="(9,)"))
    assert list(tmp_path.iterdir()) == []


# Mistakes. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "grover",
            {"marke": 3},
            r"name a key of configs/algorithms/grover.py, but got marke\. Did you mean 'marked'\? Ch",
        ),
        (
            "grover",
            {"number": 3},
            r"`--config.number` must name a key of .*grover.py.*Choices: algorithm, .*num_qubits",
        ),
        ("grover", {"num_qubits": "four"}, "`--config.num_qubits` must be an integer, but got 'four'"),
        ("grover", {"num_qubits": 2.5}, "`--config.num_qubits` must be an integer"),
        ("grover", {"num_qubits": 65}, r"`num_qubits` must lie in 1\.\.64, but got 65"),
        ("grover", {"num_qubits": 40}, "but got 40, for which 40 qubits need 9.0 TiB"),
        ("grover", {"num_qubits": 3, "marked": "()"}, "`marked` must be a tuple of basis indices, or one of bitstr"),
        ("grover", {"num_qubits": 3, "marked": "(True,)"}, "`marked` must be a tuple"),
        ("grover", {"num_qubits": 3, "marked": "(1, '110')"}, "`marked` must be a tuple"),
        ("grover", {"num_qubits": 3, "marked": "('11',)"}, "hold bitstrings of 3 characters 0 and 1, but got '11'"),
        ("grover", {"num_qubits": 3, "marked": "(8,)"}, r"`marked` must hold indices in 0\.\.7, but got 8"),
        ("grover", {"num_iterations": -2}, "or be -1 for the optimal number, but got -2"),
        ("grover", {"search": "unknow"}, r"Did you mean 'unknown'\? Choices: known, unknown"),
        (
            "grover",
            {"search": "unknown", "num_iterations": 3},
            "`num_iterations` must keep its default -1 unless `search` is 'known'",
        ),
        ("grover", {"shots": 0}, r"`shots` must lie in 1\.\.1000000"),
        ("grover", {"seed": -1}, "`seed` must lie in"),
        (
            "grover",
            {"algorithm": "shor"},
            r"`--config.algorithm` must be left out: .*Choices: configs/algorithms/grov",
        ),
        ("shor", {"number": 1}, r"`number` must lie in 2\.\.10\*\*18, but got 1"),
        ("shor", {"number": 2**31 + 5}, r"`number` must fit into this device.*96 qubits need over 2\^\d+ bytes"),
        ("shor", {"use_lucky_gcd": "maybe"}, "`--config.use_lucky_gcd` must be true or false"),
        ("shor", {"simulation": "fast"}, "Choices: circuit, direct"),
        ("shor", {"max_attempts": 0}, "`max_attempts` must lie in 1\\.\\.2147483647"),
        ("shor", {"num_counting_qubits": -1}, "`num_counting_qubits` must lie in"),
        ("phase_estimation", {"phase": 1.0}, r"`phase` must lie in \[0, 1\), but got 1.0"),
        ("phase_estimation", {"phase": "nan"}, "`phase` must be a finite number"),
        ("phase_estimation", {"num_precision_qubits": 25}, "`num_precision_qubits` must be at most 20"),
        ("phase_estimation", {"num_precision_qubits": 50}, r"51 qubits need 128.0 PiB"),
        ("counting", {"num_qubits": 40}, r"but got 40, for which 46 qubits need 24.0 TiB"),
        ("counting", {"num_precision_qubits": 45}, "`num_precision_qubits` must fit into this device"),
        ("minimum", {"table": "(1, 'a')"}, "`table` must be a tuple of numbers below 1e300"),
        ("minimum", {"table": "(1, 2)", "num_values": 5}, r"must keep its default 64 unless `table` is \(\)"),
        ("minimum", {"table": f"({10**400}, 1)"}, "`table` must be a tuple of numbers below 1e300"),
        ("minimum", {"num_values": 0}, "`num_values` must lie in 1"),
        ("minimum", {"num_values": 2**40}, r"`num_values` must fit into this device.*need 17.0 TiB"),
    ],
)
def test_mistakes_are_one_clear_line(capsys, tmp_path, name, changes, message):
    err = refused(capsys, run(name, tmp_path / "run", **changes))
    assert re.search(message, err), err
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--mode=algorithm"],
            "`--config` must name the configuration of an algorithm .*nothing. Choices: configs/algor",
        ),
        (["--mode=algorithm", "--workdir=new"], "`--config` must name the configuration of an algorithm"),
        (
            ["--mode=algorithm", TINY],
            r"`--config` must name the .*tiny.py\..* Choices: configs/algorithms/grover.py, ",
        ),
        (["--mode=algorithm", TINY, "--config.seed=1"], r"`--config` must name the .*tiny.py"),
        (
            [f"--config={path_of('grover')}"],
            "`--mode` must be algorithm or export for the algorithm 'grover', but got tr",
        ),
        ([f"--config={path_of('shor')}", "--workdir=new"], "`--mode` must be algorithm or export for .*'shor'"),
        (
            [f"--config={path_of('shor')}", "--mode=explain"],
            "`--mode` must be algorithm or export .*, but got explain",
        ),
        ([f"--config={path_of('shor')}", "--mode=export"], "`--workdir` must name the folder of the run"),
        (["--mode=evaluate", "--workdir=grover"], "`--mode` must be algorithm or export .*, but got evaluate"),
        (["--mode=predict", "--workdir=grover"], "`--mode` must be algorithm or export .*, but got predict"),
        (["--workdir=grover"], "`--mode` must be algorithm or export for the algorithm 'grover', but got train"),
        (["--mode=export", "--workdir=grover", "--config.seed=3"], r"agree with .*seed 3 \(saved: 0\)"),
        (["--mode=export", "--workdir=grover", TINY], "`--workdir` must hold nothing or a training run"),
        (["--mode=export", "--workdir=grover", "--input=texts.txt"], "`--input` must be left out for .*'grover'"),
        (["--mode=algorithm", "--split=test"], "`--split` must be left out"),
        (["--mode", "algorithm", f"--config={path_of('shor')}", "--config.numbr=3"], "Did you mean 'number'"),
    ],
)
def test_modes_and_configurations_that_do_not_go_together(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    save_config(validate(load_config(path_of("grover"))), "grover")
    (tmp_path / "texts.txt").write_text("a text\n")
    err = refused(capsys, command.main(arguments))
    assert re.search(message, err), err
    assert not (tmp_path / "new").exists()


def test_a_configuration_with_a_wrong_name_or_missing_key(tmp_path, capsys):
    body = "from qjax.configs.algorithms import shor\n\n\ndef get_config():\n    config = shor.get_config()\n"
    for line, message in (
        ("config.algorithm = 'sho'", r"`algorithm` must be .* Did you mean 'shor'\? Choices: grover, shor"),
        ("del config.number", "`number` must be in the configuration, as it is in configs/algorithms/shor.py"),
        ("config.nmber = 3", "Did you mean 'number'"),
    ):
        (tmp_path / "mine.py").write_text(f"{body}    {line}\n    return config\n")
        status = command.main(["--mode=algorithm", f"--config={tmp_path / 'mine.py'}"])
        err = refused(capsys, status)
        assert re.search(message, err), err


# Configurations. ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_checked_commented_and_come_back_from_json(name):
    config = validate(load_config(path_of(name)))
    assert config.algorithm == name
    assert from_json(to_json(config)) == config
    assert to_json(from_json(to_json(config))) == to_json(config)
    text = path_of(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("    config.")]
    assert [line for line in lines if "#" not in line] == [f'    config.algorithm = "{name}"']
    for word in ("Command:", "Time:", "Result:", f"--config=configs/algorithms/{name}.py"):
        assert word in text


def test_every_table_of_the_schema_names_keys_that_exist():
    keys = {key for name in NAMES for key in algorithm_schema.algorithm_keys(name)}
    named = set(algorithm_schema.CHOICES) | set(algorithm_schema.RANGES) | set(algorithm_schema.CONDITIONS)
    assert named <= keys
    assert keys - named == {"algorithm", "use_lucky_gcd"}
    assert set(algorithm_schema.FILES) == set(NAMES) == {p.stem for p in path_of("x").parent.glob("[a-z]*.py")}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_read(name, monkeypatch):
    recorded = {}
    resolve = command.resolve_config

    def recording(**options):
        recorded["config"], recorded["reads"] = record_reads(resolve(**options))
        return recorded["config"]

    monkeypatch.setattr(command, "resolve_config", recording)
    assert run(name, **{key: value for key, value in SMALL[name].items() if key != "table"}) == 0
    assert recorded["reads"] == set(flatten(recorded["config"]))


# The picture. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "found", "theory", "message"),
    [
        ([], [], [], "`steps` must have the shape"),
        ([0, 1], [0.5], [0.5, 1.0], r"`found` must have the shape \[2\]"),
        ([0, 1], [0.5, 1.5], [0.5, 1.0], "`found` must hold probabilities"),
        ([0, 1], [0.5, 1.0], [0.5, math.nan], "`theory` must hold probabilities"),
    ],
)
def test_a_plot_refuses_what_is_no_curve(tmp_path, steps, found, theory, message):
    with pytest.raises(ValueError, match=message):
        plot_success(steps, found, theory, tmp_path / "x.png", title="t")


def test_only_the_first_process_prints_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    config = validate(load_config(path_of("phase_estimation")))
    assert algorithm.run(config, tmp_path / "run") == 0
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "run").exists()
