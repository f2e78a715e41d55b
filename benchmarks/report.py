"""The report: tables for a person in RESULTS.md, between two marker lines, every number in JSON, and a plot."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plot
from benchmarks.workloads import cases

BEGIN = "<!-- bench on {}: everything down to the end mark is written by scripts/bench -->"
END = "<!-- bench on {}: end -->"
TITLES = {
    "W1": "Angle encoding, 3 layers of RX RY RZ and a CNOT ring, Z of every qubit; a batch",
    "W2": "Layers of RY RZ and a CNOT ring, a chain of ZZ, value and gradient; one state",
    "W3": "Grover's search, 50 iterations; qjax in closed form, peers iteration by iteration",
    "W4": "Tracing and compiling a value and gradient",
    "W5": "One random circuit, forward",
    "W6": "One training step of a hybrid model, features [512, 384]",
    "W7": "Largest error against complex128",
    "W8": "Circuits that no one tuned for, value and gradient of weights and inputs; a batch",
    "W9": "Grover's search, optimal number of iterations; qjax in closed form, peers by gates",
    "W10": "Given states: 3 layers of RX RY RZ and a CNOT ring on them; the matrix of that circuit",
    "W11": "Dense diagonals and chemistry; gradients unless it says forward",
    "W13": "Inputs loaded again in each of 4 layers, RY RZ and a ring of CZ, CX or RZZ; a batch",
}
_WORDS = {
    r"^step ": "",
    r"^brick ": "brick wall ",
    r"^(\D+) n=": r"\1: n=",
    r"n=(\d+)": r"\1 qubits,",
    r"b=(\d+)": r"batch \1,",
    r"L=(\d+)": r"\1 layers,",
    r"depth=(\d+)": r"depth \1,",
    r"grad w,x": "gradient of weights and inputs",
    r"grad w": "gradient of weights",
}
Entry = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Where results go."""

    folder: Path
    device: str

    @property
    def markdown(self) -> Path:
        return self.folder / "RESULTS.md"

    @property
    def numbers(self) -> Path:
        return self.folder / ("results.json" if self.device == "cpu" else "results_gpu.json")

    @property
    def plot(self) -> Path:
        return self.folder / ("results.png" if self.device == "cpu" else "results_gpu.png")


def read(places: Places) -> list[Entry]:
    """Returns the entries of earlier runs."""
    return json.loads(places.numbers.read_text())["entries"] if places.numbers.exists() else []


def write(places: Places, entries: list[Entry], machine: dict[str, str], command: str) -> None:
    """Writes numbers, tables and plot; text outside the two marks stays as it is."""
    places.folder.mkdir(parents=True, exist_ok=True)
    order = {case.name: i for i, case in enumerate(cases(gpu=True))}
    workloads, last = list(TITLES), len(order)
    entries = sorted(entries, key=lambda e: (workloads.index(e["workload"]), e["cores"], order.get(e["case"], last)))
    text = json.dumps({"machine": machine, "command": command, "entries": entries}, indent=1)
    places.numbers.write_text(text + "\n")
    begin, end = BEGIN.format(places.device), END.format(places.device)
    section = "\n".join([begin, *_section(entries, machine, command, places.plot.name), end])
    old = places.markdown.read_text() if places.markdown.exists() else "# Results\n"
    if begin in old and end in old:
        head, _, rest = old.partition(begin)
        new = head + section + rest.partition(end)[2]
    else:
        new = old.rstrip("\n") + "\n\n" + section + "\n"
    places.markdown.write_text(new)
    _plot(entries, places.plot)


def line(entry: Entry) -> str:
    """Returns one measurement in a line, for the terminal."""
    if entry["status"] != "ok":
        return f"{entry['status']}: {entry['reason']}"
    seconds = time_of(entry)
    parts = [entry["form"], "not timed" if seconds is None else milliseconds(seconds)]
    parts.append(f"prepared in {entry['rounds'][0]['prepare_s']:.1f} s")
    return ", ".join(parts)


def time_of(entry: Entry) -> float | None:
    """Returns the seconds to compare: of a call, the median over all rounds; of compile-time cases, of preparing."""
    if entry.get("status") != "ok":
        return None
    if entry["compile_only"]:
        return float(np.median([part["prepare_s"] for part in entry["rounds"]]))
    calls = [seconds for part in entry["rounds"] for seconds in part["call_s"]]
    return float(np.median(calls)) if calls else None


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def times(ratio: float) -> str:
    """Returns a ratio with two digits, such as 0.31, 1.5 or 420."""
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:,.0f}"


def ratio_of(entry: Entry, ours: Entry | None) -> float | None:
    """Returns how many times qjax's time a peer takes; None where one has no time, or the results disagree.

    Times of different processors are not compared.
    """
    if ours is None or not (entry.get("agrees") and ours.get("agrees")):
        return None
    if entry.get("processor") != ours.get("processor"):
        return None
    theirs, mine = time_of(entry), time_of(ours)
    return theirs / mine if theirs and mine else None


# Tables ----------------------------------------------------------------------------------------------------------


def _section(entries: list[Entry], machine: dict[str, str], command: str, picture: str) -> list[str]:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("commit", "date"))
    out = [
        "## qjax beside its peers" + (" on a GPU" if entries[0]["device"] == "gpu" else ""),
        "",
        f"Latest run: `{command}` on {machine['date']}, commit {machine['commit']}. Machine: {facts}.",
        "",
        "Every measurement is a process of its own on one pinned core, or on all cores with as many threads; median",
        "of the calls of all rounds, warm-up and compilation excluded. The figure in brackets is the peer's time",
        "over qjax's: above 1 qjax is faster. It stands only where both are of one processor, and results agree",
        "within 1e-4 with qjax's and, where that can be had, with a complex128 reference. Every peer runs in the",
        "fastest of the forms that its file in `benchmarks/peers` lists.",
        "",
        f"![time of each peer over the time of qjax]({picture})",
    ]
    for workload, title in TITLES.items():
        mine = [e for e in entries if e["workload"] == workload]
        for cores in sorted({e["cores"] for e in mine}):
            part = [e for e in mine if e["cores"] == cores]
            text = "one core" if cores == "1" else "all cores"
            stamps = "; ".join(sorted(set(map(_stamp, part))))
            out += ["", f"### {workload}: {title}; {text}", "", f"From {stamps}.", ""]
            out += _accuracy(part) if workload == "W7" else _times(part)
            out += _memory(part) + _share(part) + _floor(part)
    return out + _forms(entries) + _reasons(entries) + _versions(entries)


def _stamp(entry: Entry) -> str:
    shown = {"command": "`{}`", "commit": "commit {}", "date": "{}", "processor": "{}"}
    return ", ".join(text.format(entry[key]) for key, text in shown.items() if key in entry)


def _grid(part: list[Entry], cell: Callable[[Entry, Entry | None], str]) -> list[str]:
    """A row for each case, a column for each peer that has something to show."""
    peers = [
        p for p in dict.fromkeys(e["peer"] for e in part) if any(e["peer"] == p and e["status"] == "ok" for e in part)
    ]
    peers.sort(key=["qjax", *plot.STYLES].index)
    table = {(e["case"], e["peer"]): e for e in part}
    out = [f"| case | {' | '.join(peers)} |", "|---" * (len(peers) + 1) + "|"]
    for case in dict.fromkeys(e["case"] for e in part):
        ours = table.get((case, "qjax"))
        cells = [cell(table[case, p], ours) if (case, p) in table else "" for p in peers]
        out.append(f"| {case} | {' | '.join(cells)} |")
    return out


def _times(part: list[Entry]) -> list[str]:
    def cell(entry: Entry, ours: Entry | None) -> str:
        seconds = time_of(entry)
        if seconds is None:
            return "-" if entry["status"] == "unsupported" else "failed"
        if entry.get("agrees") is False:
            return f"{milliseconds(seconds)}, **wrong result**"
        ratio = ratio_of(entry, ours)
        if entry["compile_only"] and len(entry["forms"]) > 1:
            others = [
                f"{k} {v['prepare_s']:.1f} s"
                for k, v in entry["forms"].items()
                if "prepare_s" in v and k != entry["form"]
            ]
            also = f"; {', '.join(others)}" if others else ""
            return (
                f"{entry['form']} {milliseconds(seconds)} ({times(ratio)}){also}" if ratio else milliseconds(seconds)
            )
        shown = "" if ratio is None or entry["peer"] == "qjax" else f" ({times(ratio)})"
        return milliseconds(seconds) + shown

    return _grid(part, cell)


def _accuracy(part: list[Entry]) -> list[str]:
    draws: dict[tuple[str, str], list[Entry]] = {}
    for entry in part:
        draws.setdefault((_without_draw(entry), entry["peer"]), []).append(entry)

    def cell(entry: Entry, _: Entry | None) -> str:
        mine = draws[_without_draw(entry), entry["peer"]]
        if any(e["status"] != "ok" for e in mine):
            return "-" if entry["status"] == "unsupported" else "failed"
        found = []
        for key in ("value", "weights"):
            errors = [e["errors"][key] for e in mine if key in e.get("errors", {})]
            if errors:
                found.append(f"{max(errors):.1e} ({(sum(x * x for x in errors) / len(errors)) ** 0.5:.1e})")
        return " / ".join(found)

    count = max(map(len, draws.values()))
    note = f"Largest error (root of the mean square) of {count} draws of the weights: expectation / gradient."
    merged = {key: own[0] | {"case": key[0]} for key, own in draws.items()}
    return [note, "", *_grid(list(merged.values()), cell)]


def _without_draw(entry: Entry) -> str:
    return str(entry["case"].split(" #")[0])


def _memory(part: list[Entry]) -> list[str]:
    def peak(entry: Entry) -> int | None:
        peaks = [r["peak_bytes"] for r in entry.get("rounds", []) if r.get("peak_bytes")]
        return max(peaks) if peaks else None

    if part[0]["workload"] != "W2" or not any(peak(e) for e in part):
        return []

    def cell(entry: Entry, _: Entry | None) -> str:
        found = peak(entry)
        if found is None:
            return "-"
        temporary = entry.get("notes", {}).get("temporary_bytes")
        compiler = f"; compiler: {temporary / 2**20:.0f}" if temporary is not None else ""
        return f"{found / 2**20:.0f} MiB = {found / entry['state_bytes']:.1f} states{compiler}"

    note = "Peak of memory in a call above what the process held before it, also in states of 8 bytes an amplitude:"
    return ["", note, "", *_grid(part, cell)]


def _share(part: list[Entry]) -> list[str]:
    if part[0]["workload"] != "W6":
        return []

    def cell(entry: Entry, _: Entry | None) -> str:
        total = time_of(entry)
        classical = [s for r in entry.get("rounds", []) for s in r["also"].get("classical", [])]
        if total is None or not classical:
            return "-"
        rest = float(np.median(classical))
        return f"{100 * max(0.0, 1 - rest / total):.0f} % ({milliseconds(rest)} without it)"

    return ["", "Share of the step spent in the circuit:", "", *_grid(part, cell)]


def _floor(part: list[Entry]) -> list[str]:
    """On a GPU: the time that memory alone needs, from the measured speed of a copy."""

    def cell(entry: Entry, _: Entry | None) -> str:
        seconds, speed = time_of(entry), entry.get("notes", {}).get("copy_bytes_per_s")
        if seconds is None or not speed:
            return "-"
        # Read and write the state once a layer; backwards the state and the costate.
        passes = 2 * (entry["num_layers"] + 1) * (1 if entry["kind"] == "expectation" else 3)
        floor = passes * entry["state_bytes"] / speed
        return f"{milliseconds(floor)} ({seconds / floor:.1f} times that)"

    if part[0]["device"] != "gpu":
        return []
    note = "Floor: one pass over the states a layer (three for a gradient) at the measured speed of a copy:"
    return ["", note, "", *_grid(part, cell)]


def _forms(entries: list[Entry]) -> list[str]:
    found: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        if entry["status"] == "ok" and len(entry["forms"]) > 1:
            where = entry["case"] + ("" if entry["cores"] == "1" else " (all cores)")
            found.setdefault(entry["peer"], {}).setdefault(entry["form"], []).append(where)
    out = ["", "<details><summary>Fastest form of each peer that has several</summary>", ""]
    for peer, forms in found.items():
        out += [f"- {peer}: " + "; ".join(f"'{form}' in {', '.join(where)}" for form, where in forms.items())]
    return [*out, "", "</details>"] if found else []


def _reasons(entries: list[Entry]) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if entry["status"] != "ok":
            where = entry["case"] + ("" if entry["cores"] == "1" else " (all cores)")
            found.setdefault((entry["peer"], entry["reason"].replace("\n", " ")), []).append(where)
    out = ["", "### Not measured, and why", ""]
    return (
        [*out, *(f"- {peer}: {reason} ({', '.join(where)})" for (peer, reason), where in found.items())]
        if found
        else []
    )


def _versions(entries: list[Entry]) -> list[str]:
    found: dict[str, str] = {}
    for entry in entries:
        if entry["status"] == "ok":
            found[entry["peer"]] = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    return ["", "### Versions", "", *(f"- {peer}: {text}" for peer, text in found.items()), ""]


def _plot(entries: list[Entry], path: Path) -> None:
    """Draws, for each case, every peer's time over qjax's: one panel for each number of cores."""
    table = {(e["cores"], e["case"], e["peer"]): e for e in entries}
    panels: list[plot.Panel] = []
    for cores in sorted({e["cores"] for e in entries}):
        groups = []
        for workload, title in TITLES.items():
            rows: list[plot.Row] = []
            for case in dict.fromkeys(
                e["case"] for e in entries if e["workload"] == workload and e["cores"] == cores
            ):
                entries_of = {peer: table.get((cores, case, peer)) for peer in plot.STYLES}
                ratios = {p: ratio_of(e, table.get((cores, case, "qjax"))) for p, e in entries_of.items() if e}
                rows.append((in_words(case), {peer: ratio for peer, ratio in ratios.items() if ratio}))
            if any(found for _, found in rows):
                groups.append((f"{workload}  {title}".replace("`", ""), [row for row in rows if row[1]]))
        panels += [("One core" if cores == "1" else "All cores", groups)] if groups else []
    if panels:
        plot.draw(panels, path)


def in_words(case: str) -> str:
    """Returns the name of a case as words: 'W1 n=8 b=32 grad w' as '8 qubits, batch 32, gradient of weights'."""
    text = case.split(" ", 1)[1]
    for pattern, words in _WORDS.items():
        text = re.sub(pattern, words, text)
    return re.sub(r"[, ]*, *", ", ", text).strip(", ")


if __name__ == "__main__":  # writes tables and plot again from the numbers
    where = Places(Path(__file__).resolve().parent, "cpu")
    kept = json.loads(where.numbers.read_text())
    write(where, kept["entries"], kept["machine"], kept["command"])
