"""A run on two processes, as on two hosts, with the CPU's collectives."""

import json
import os
import socket
import subprocess
import sys

import pytest
from running import ROOT

from qjax.checks import UserError
from qjax.configs.tiny import get_config
from qjax.modes import export
from qjax.modes.cluster import join_cluster


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_process(workdir, *, port, process_id):
    """Starts process `process_id` of two on configs/tiny.py."""
    environment = {
        **os.environ,
        "QJAX_DISTRIBUTED": "1",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(process_id),
    }
    command = [sys.executable, ROOT / "main.py", f"--config={ROOT / 'configs' / 'tiny.py'}", f"--workdir={workdir}"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_two_processes_train_as_one_does(trained, tmp_path):
    port = free_port()
    processes = [start_process(tmp_path / "two", port=port, process_id=i) for i in range(2)]
    try:
        outputs = [process.communicate(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "2 x cpu on 2 hosts" in outputs[0][0]
    assert "devices" not in outputs[1][0]  # the first process speaks for all
    two, one = [json.loads((workdir / "report.json").read_text()) for workdir in (tmp_path / "two", trained)]
    for name, report in one["reports"].items():
        assert two["reports"][name]["loss"] == pytest.approx(report["loss"], abs=1e-4)
        assert two["reports"][name]["confusion"] == report["confusion"]


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
