"""Runs one case with one peer in this process and writes what came of it: called by `bench.py`, once a measurement.

The process is bound to its cores before a framework is imported. It makes the case ready in every form that the peer
offers (unless one is named), keeps the form whose calls are shortest (of compile-time cases: whose preparation is),
warms it up, and times calls. Results go to OUT.npz, everything else to OUT.json.

Names and shapes of results: `expectations` [batch, observables]; `value` (), `weights` [num_weights] and `inputs`
[batch, num_inputs] of the loss and its gradients; `amplitudes` [1000], times 2**(n / 2); `probability` ().
"""

import argparse
import gc
import importlib
import importlib.util
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

MIN_CALLS = 3
RACE_TURNS, RACE_SECONDS = 5, 20.0
SHORT, MAX_TOGETHER = 0.01, 1000
# Share of the machine's memory that a process may ask for: one that wants more fails instead of being killed.
MEMORY_SHARE = 0.85


def main() -> None:
    args = _arguments()
    os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    if args.device == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_AS, (int(MEMORY_SHARE * total),) * 2)
    out: dict[str, Any] = {"status": "failed"}
    try:
        out |= _measure(args)
        out["status"] = "ok"
    except Exception as error:
        unsupported = type(error).__name__ == "Unsupported"
        out["status"] = "unsupported" if unsupported else "failed"
        out["reason"] = str(error) if unsupported else f"{type(error).__name__}: {error}".strip()[:400]
        if not unsupported:
            traceback.print_exc()
    Path(f"{args.out}.json").write_text(json.dumps(out))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--form", default="", help="run this form; otherwise try all and keep the fastest")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls at most")
    parser.add_argument("--seconds", type=float, default=3.0, help="stop timing after this long")
    parser.add_argument("--cores", default="0", help="numbers of the cores to run on, with commas between")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", required=True, help="path of the results, without an ending")
    return parser.parse_args()


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from benchmarks.environments import PEERS
    from benchmarks.workloads import cases

    _call_in_this_thread()
    case = next(case for case in cases(quick=args.quick, gpu=args.device == "gpu") if case.name == args.case)
    peer = PEERS[args.peer]
    module = importlib.import_module(peer.module)
    if args.device == "gpu" and module.backend() != "gpu":
        raise RuntimeError(f"JAX finds no GPU here, only {module.backend()}")
    getattr(module, "warm_up", lambda: None)()
    forms = getattr(module, peer.function)(case)
    if args.form:
        forms = {args.form: forms[args.form]}
    tried = {name: _try(make, case) for name, make in forms.items()}
    if len(forms) > 1 and not case.compile_only:
        _race([found for found in tried.values() if "run" in found])
    good = {name: found for name, found in tried.items() if "error" not in found}
    if not good:
        raise RuntimeError("; ".join(f"{name}: {found['error']}" for name, found in tried.items()))
    name = min(good, key=lambda name: good[name]["prepare_s" if case.compile_only else "call_s"])
    run, best = good[name]["run"], good[name]
    answer, peak = _first_call(run)
    np.savez(f"{args.out}.npz", **run.result(answer))
    seconds = [] if case.kind == "accuracy" else _time(run.call, args.repeats, args.seconds)
    if args.device == "gpu":
        from benchmarks.peers.jax_common import copy_speed

        run.notes["copy_bytes_per_s"] = copy_speed()
    return {
        "form": name,
        "prepare_s": best["prepare_s"],
        "call_s": seconds,
        "also": {key: _time(call, args.repeats, args.seconds) for key, call in run.also.items()},
        "peak_bytes": peak if len(forms) == 1 else None,  # forms that were tried before leave memory behind
        "notes": run.notes,
        "forms": {key: {k: v for k, v in found.items() if k != "run"} for key, found in tried.items()},
        "versions": module.versions() | {"python": sys.version.split()[0]},
    }


def _call_in_this_thread() -> None:
    """Has JAX run a call on a CPU in the thread that makes it; before a peer is imported, which may make the device.

    Handed to another thread, JAX's default, a call costs every framework about 10 us more on one core (a product of
    64 x 64 matrices: 22 us in place of 14).
    """
    if importlib.util.find_spec("jax") is not None:  # not every peer has it
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)


def _try(make: Callable[[Any], Any], case: Any) -> dict[str, Any]:
    """Returns one form made ready and the seconds of that, or its error."""
    start = time.perf_counter()
    try:
        run = make(case)
        return {"run": run, "prepare_s": time.perf_counter() - start, "call_s": 0.0}
    except Exception as error:
        if type(error).__name__ == "Unsupported":
            raise
        return _error(error)


def _error(error: Exception) -> dict[str, Any]:
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}".strip()[:300]}


def _race(rivals: list[dict[str, Any]]) -> None:
    """Notes the seconds of each form's quickest call; the forms take turns, so that drift meets all of them."""
    begun = time.perf_counter()
    for turn in range(RACE_TURNS + 1):
        if turn > 1 and time.perf_counter() - begun > RACE_SECONDS:
            return
        for found in rivals:
            if "error" in found:
                continue
            try:
                start = time.perf_counter()
                found["run"].call()
                seconds = time.perf_counter() - start
            except Exception as error:
                found |= _error(error)
                continue
            if turn:  # the first turn warms up
                found["call_s"] = min(seconds, found["call_s"] or seconds)


def _first_call(run: Any) -> tuple[Any, int]:
    """Returns what the first call gives, and by how many bytes the process's memory grew above what it had before."""
    gc.collect()
    before = reset_peak()
    answer = run.call()
    return answer, max(0, peak_of_memory() - before)


def reset_peak() -> int:
    """Makes the kernel forget the peak of this process's memory; returns the bytes it has now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_of_memory()  # growth of the peak is all that can be seen here
    return _status("VmRSS")


def peak_of_memory() -> int:
    found = _status("VmHWM")
    return found or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _time(call: Callable[[], Any], repeats: int, limit: float, least: int = MIN_CALLS) -> list[float]:
    """Returns the seconds of a call, `repeats` times, fewer once `limit` seconds are over.

    Calls shorter than `SHORT` seconds are timed several together.
    """
    begun = time.perf_counter()
    call()
    together = max(1, min(MAX_TOGETHER, int(SHORT / (time.perf_counter() - begun))))
    seconds: list[float] = []
    begun = time.perf_counter()
    while len(seconds) < repeats and (len(seconds) < least or time.perf_counter() - begun < limit):
        start = time.perf_counter()
        for _ in range(together):
            call()
        seconds.append((time.perf_counter() - start) / together)
    return seconds


if __name__ == "__main__":
    main()
