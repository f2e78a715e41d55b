"""Compares the working tree with another checkout of the project, case by case, in turns.

Command:  python -m benchmarks.compare --before=DIR [--only=W1,W8] [--rounds=15] [--cores=1|all] [--quick]
Time:     about 15 s a case on a quiet machine; W2, W5 and W11 up to a minute.

Three processes stay alive, one at work at a time: the other checkout twice, and the working tree. Each takes qjax
from its checkout and the workloads from here. A round times a block of calls in each, in rotating order; a ratio is
of the blocks of one round. Printed are, for each case: medians; the median ratio of after to before; the range of 80
% of the ratios of before to before, which is what the machine alone does; and the seconds from the workload to the
end of its first call, "+" what the same took longer for another circuit of its size before, kernels that are
compiled once a process. The last word is 'slower' where the ratio is more than 5 % above 1 and above that range,
'faster' where it is below the range, 'differs' where results do.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

from benchmarks.bench import TOLERANCE, difference
from benchmarks.case import Case
from benchmarks.report import milliseconds
from benchmarks.workloads import NAMES, cases

ROOT = Path(__file__).resolve().parents[1]
BLOCK_SECONDS, SLOWER = 0.05, 1.05
COLUMNS = (
    "case",
    "before",
    "after",
    "after / before",
    "before / before",
    "first call before",
    "first call after",
    "",
)


class Checkout:
    """A process that runs cases with the qjax of one checkout; a new one follows where it took too long."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), f"--serve={folder}", f"--cores={args.cores}"]
        self.command, self.limit = command + ["--quick"] * args.quick, args.limit
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> Any:
        """Returns the answer to a request; raises what went wrong there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.process.kill()
            self.start()
            raise RuntimeError(f"more than {self.limit} s")
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def serve(folder: Path, quick: bool) -> None:
    """Answers requests: {"case", "out"} makes a case ready and calls it; {"calls"} times so many calls of it."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the terminal, not among the answers
    sys.path.insert(0, str(folder))
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    import qjax
    from benchmarks.peers import jax_common, qjax_

    assert Path(qjax.__file__).is_relative_to(folder), f"qjax is of {qjax.__file__}, not of {folder}"
    jax_common.warm_up()
    known = {case.name: case for case in cases(quick=quick)}
    run: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        begin = time.perf_counter()
        try:
            if "case" in request:
                case = known[request["case"]]
                form = next(iter(qjax_.forms(case)))
                qjax_.forms(case)[form](sibling(case)).call()
                middle = time.perf_counter()
                run = qjax_.forms(case)[form](case)
                out = run.call()
                seconds = time.perf_counter() - middle
                answer = {"seconds": seconds, "once": middle - begin - seconds}
                np.savez(request["out"], **run.result(out))
            else:
                for _ in range(request["calls"]):
                    run.call()
                answer = {"seconds": (time.perf_counter() - begin) / request["calls"]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=replies, flush=True)


def sibling(case: Case) -> Case:
    """Returns another circuit of the same kind and size, whose first call compiles the kernels."""
    if case.num_iterations:
        return replace(case, num_iterations=case.num_iterations + 1)
    if case.num_layers > 1:
        return replace(case, num_layers=case.num_layers + 1)
    if case.num_layers:
        return replace(case, layer=case.layer[:-1])
    return replace(case, encoding=case.encoding[:-1])


def compare(name: str, checkouts: list[Checkout], rounds: int, folder: Path) -> list[str]:
    """Returns the row of a case; the checkouts are before, before again, and after."""
    out = [folder / f"{place}.npz" for place in range(len(checkouts))]
    first = [c.ask(case=name, out=str(path)) for c, path in zip(checkouts, out, strict=True)]
    results = [dict(np.load(path)) for path in out]
    calls = max(1, int(BLOCK_SECONDS / checkouts[0].ask(calls=2)["seconds"]))
    seconds = np.zeros((rounds + 1, len(checkouts)))
    for number in range(rounds + 1):
        for step in range(len(checkouts)):
            place = (number + step) % len(checkouts)
            seconds[number, place] = checkouts[place].ask(calls=calls)["seconds"]
    before, again, after = seconds[1:].T  # the first round warms up
    ratio = float(np.median(after / np.sqrt(before * again)))
    low, high = np.quantile(np.concatenate([before / again, again / before]), [0.1, 0.9])
    word = "slower" if ratio > max(SLOWER, high) else "faster" if ratio < low else ""
    if difference(results[2], results[0]) > TOLERANCE:
        word = f"differs by {difference(results[2], results[0]):.1e}"
    medians = [milliseconds(float(np.median(s))) for s in (np.concatenate([before, again]), after)]
    starts = [f"{answer['seconds']:.2f} s + {max(answer['once'], 0):.1f}" for answer in first[1:]]
    return [name, *medians, f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", *starts, word]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="the other checkout")
    parser.add_argument("--only", default=",".join(NAMES), help="words of cases' names, such as W1,n=8")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cores", choices=("1", "all"), default="1")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one answer; default 300")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cores == "1":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if args.serve:
        serve(args.serve.resolve(), args.quick)
        return 0
    if args.before is None or not (args.before / "qjax").is_dir():
        parser.error("--before wants the folder of another checkout")
    parts = args.only.split(",")
    # W7 is about errors, of which the difference of results says enough.
    chosen = [c.name for c in cases(quick=args.quick) if c.workload != "W7"]
    chosen = [name for name in chosen if any(f" {part} " in f" {name} " for part in parts)]
    checkouts = [Checkout(folder, args) for folder in (args.before, args.before, ROOT)]
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    words = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            try:
                row = compare(name, checkouts, args.rounds, Path(folder))
            except RuntimeError as error:
                row = [name, str(error), *[""] * (len(COLUMNS) - 3), "failed"]
            words.add(row[-1].split(" ")[0])
            print("| " + " | ".join(row) + " |", flush=True)
    for checkout in checkouts:
        checkout.process.stdin.close()  # type: ignore[union-attr]
        checkout.process.wait()
    return 1 if words & {"slower", "differs", "failed"} else 0


if __name__ == "__main__":
    sys.exit(main())
