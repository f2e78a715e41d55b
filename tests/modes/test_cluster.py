"""A run on two processes, as on two hosts, with the CPU's collectives."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import pytest
from interrupted import cache_without_features, wait_for_line
from running import ROOT

from qjax.checks import UserError
from qjax.configs.tiny import get_config
from qjax.modes import cluster, export
from qjax.modes.cluster import join_cluster
from qjax.training.lock import workdir_lock


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_process(workdir, *arguments, port, process_id):
    """Starts process `process_id` of two on configs/tiny.py."""
    environment = {
        **os.environ,
        "QJAX_DISTRIBUTED": "1",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(process_id),
    }
    command = [sys.executable, ROOT / "main.py", "--config=tiny", f"--workdir={workdir}", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


@contextlib.contextmanager
def two_processes(workdir, *arguments, only_second=()):
    """Starts both, and ends them in any case; `only_second` are arguments of one of them."""
    port = free_port()
    processes = [
        start_process(workdir, *arguments, *(only_second if i == 1 else ()), port=port, process_id=i)
        for i in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def test_two_processes_train_as_one_does(trained, tmp_path):
    with two_processes(tmp_path / "two") as processes:
        outputs = [process.communicate(timeout=150) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "2 x cpu on 2 hosts" in outputs[0][0]
    assert "devices" not in outputs[1][0]  # the first process speaks for all
    two, one = [json.loads((workdir / "report.json").read_text()) for workdir in (tmp_path / "two", trained)]
    for name, report in one["reports"].items():
        assert two["reports"][name]["loss"] == pytest.approx(report["loss"], abs=1e-4)
        assert two["reports"][name]["confusion"] == report["confusion"]


# ---- ending together ---------------------------------------------------------------------------------------------


def end_of(processes, *, status):
    """Waits until both have ended, which a signal or a mistake made them do, and returns the last line of each."""
    began = time.monotonic()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [status, status], outputs
    assert time.monotonic() - began < 30
    if status == 0:
        assert [errors for _, errors in outputs] == ["", ""]
        return [output.splitlines()[-1] for output, _ in outputs]
    assert [errors.count("\n") for _, errors in outputs] == [1, 1], outputs
    return [errors.strip() for _, errors in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("receiver", [0, 1])
def test_signal_to_one_stops_both_at_the_same_step(name, receiver, tmp_path):
    with two_processes(tmp_path, "--config.train.num_epochs=40") as processes:
        wait_for_line(processes[0], "step")
        processes[receiver].send_signal(signal.Signals[name])
        lines = end_of(processes, status=0)
    said = re.fullmatch(rf"Stopped by {name} at step (\d+): saved\. Run the same command to go on\.", lines[0])
    assert lines[0] == lines[1]
    assert (tmp_path / "checkpoints" / said[1]).is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(
    ("beginning", "phase"),
    [("features", "while computing features"), ("cut", "of this run|in start-up|features"), ("step 20/20", "report")],
)
def test_signal_in_another_phase_ends_both(beginning, phase, receiver, name, tmp_path, monkeypatch):
    monkeypatch.setenv("QJAX_CACHE", str(cache_without_features(tmp_path / "cache")))
    with two_processes(tmp_path / "run", "--config.data.max_length=5") as processes:
        wait_for_line(processes[0], beginning)
        processes[receiver].send_signal(signal.Signals[name])
        lines = end_of(processes, status=0)
    assert re.search(f"Stopped by {name} .*({phase})", lines[receiver])
    assert lines[1 - receiver] == f"Process {receiver} of 2 has ended: {lines[receiver]}"


def test_mistake_of_one_is_a_line_of_both(tmp_path):
    missing = ("--config.data.source=file", "--config.data.max_examples=0", "--config.data.path=missing.tsv")
    with two_processes(tmp_path, only_second=missing) as processes:
        lines = end_of(processes, status=2)
    assert lines[1].startswith("error: Argument `missing.tsv`")
    assert lines[0] == f"Process 1 of 2 has ended: {lines[1]}"


@pytest.mark.slow
def test_locked_workdir_is_a_line_of_both(tmp_path):
    with workdir_lock(tmp_path), two_processes(tmp_path) as processes:
        lines = end_of(processes, status=2)
    assert lines[0].startswith("error: Argument `workdir` must not be in use")
    assert lines[1] == f"Process 0 of 2 has ended: {lines[0]}"


class Store:
    """The coordinator's key-value store, in one process."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def key_value_set(self, name, text):
        with self.changed:
            if name in self.values:
                raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
            self.values[name] = text
            self.changed.notify_all()

    def blocking_key_value_get(self, name, timeout):
        with self.changed:
            assert self.changed.wait_for(lambda: name in self.values, timeout / 1000)
            return self.values[name]

    def key_value_dir_get(self, prefix):
        with self.changed:
            return [(name, text) for name, text in self.values.items() if name.startswith(prefix)]

    def wait_at_barrier(self, name, timeout):
        """Comes at the end, when nothing is left to wait for."""


@pytest.mark.parametrize("seed", range(5))
def test_processes_agree_on_a_poll_that_none_has_passed(seed, monkeypatch):
    monkeypatch.setattr(cluster, "_PERIOD", 0.002)
    store, generator = Store(), random.Random(seed)
    peers = [cluster.Peers(store, index=i, count=3) for i in range(3)]
    speeds = [generator.uniform(0, 0.003) for _ in peers]
    stopped = {}

    def work(peer):
        num_polls = 1
        while peer.request.poll() is None:
            num_polls += 1
            time.sleep(speeds[peer.index])
        stopped[peer.index] = num_polls

    threads = [threading.Thread(target=work, args=(peer,)) for peer in peers]
    for thread in threads:
        thread.start()
    time.sleep(0.03)
    for i in generator.sample(range(3), 2):  # two processes have got a signal
        peers[i].request.ask("SIGTERM")
    for thread in threads:
        thread.join(20)
    for peer in peers:
        peer.finish()
    assert len(stopped) == 3
    assert len(set(stopped.values())) == 1
    assert stopped[0] > 1


# ---- joining -----------------------------------------------------------------------------------------------------


def test_without_the_variable_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("QJAX_DISTRIBUTED", raising=False)
    join_cluster()


def test_a_number_that_is_none(monkeypatch):
    monkeypatch.setenv("QJAX_DISTRIBUTED", "1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES"):
        join_cluster()


def test_export_wants_one_process(monkeypatch, tmp_path):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(UserError, match=r"`QJAX_DISTRIBUTED` must be unset for --mode=export.* but got 2 processes"):
        export.run(get_config(), tmp_path, "")
