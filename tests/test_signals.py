"""Signals sent to this process, and to processes that they end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from qjax import signals

NAMES = ["SIGTERM", "SIGINT"]
# Says a phase, then does for a minute what no handler of Python's can interrupt.
BUSY = """
import hashlib, sys, time
from qjax import signals

def be_busy():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

with signals.caught():
    signals.set_phase("at work")
    if "resumable" in sys.argv:
        signals.set_resumable()
    if "deferred" not in sys.argv:
        be_busy()
    with signals.deferred() as request:
        if "polled" not in sys.argv:
            be_busy()
        request.poll()
        if "busy" in sys.argv:
            be_busy()
        print("ready", flush=True)
        while request.poll() is None:
            time.sleep(0.01)
        print(request.poll(), flush=True)
    signals.set_phase("in the phase after it")
    print("alive")
"""


def start(*words):
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", [(), ("deferred",)], ids=["at once", "nothing polled yet"])
def test_ends_with_one_line_though_c_code_runs(name, words):
    child = start(*words)
    child.send_signal(signal.Signals[name])
    output, errors = child.communicate(timeout=20)
    assert (child.returncode, output) == (128 + signal.Signals[name], "")
    assert errors == f"Stopped by {name} at work. Run the same command again.\n"


def test_end_of_what_the_same_command_goes_on_with_is_no_failure():
    child = start("resumable")
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")
    assert output == "Stopped by SIGTERM at work. Run the same command to go on.\n"


def test_deferred_signal_waits_for_a_poll_and_ends_the_next_phase():
    child = start("deferred", "polled", "resumable")
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")
    assert output == "SIGTERM\nStopped by SIGTERM in the phase after it. Run the same command to go on.\n"


def test_second_signal_ends_in_any_case():
    child = start("deferred", "polled", "busy")
    for _ in range(2):
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert child.communicate(timeout=20) == ("", "")
    assert child.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("name", NAMES)
def test_handlers_come_back_and_a_request_is_seen(name):
    handlers = [signal.getsignal(number) for number in signals.CAUGHT]
    with signals.caught(), signals.deferred() as request:
        assert request.poll() is None
        os.kill(os.getpid(), signal.Signals[name])
        wait_for(lambda: request.signal is not None)
        assert request.poll() == name
        with pytest.raises(signals.StopError):
            request.check()
    assert [signal.getsignal(number) for number in signals.CAUGHT] == handlers
    assert signal.set_wakeup_fd(-1) == -1


def test_handlers_come_back_after_an_error():
    handlers = [signal.getsignal(number) for number in signals.CAUGHT]
    num_threads = threading.active_count()
    with pytest.raises(RuntimeError, match="inside"), signals.caught():
        raise RuntimeError("inside")
    assert [signal.getsignal(number) for number in signals.CAUGHT] == handlers
    assert threading.active_count() == num_threads


def test_in_another_thread_nothing_is_caught():
    inside = []

    def run():
        with signals.caught(), signals.deferred() as request:
            inside.extend([signal.getsignal(signal.SIGTERM), request.poll()])

    expected = [signal.getsignal(signal.SIGTERM), None]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == expected
