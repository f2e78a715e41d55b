"""The picture of a report: how many times qjax's time each peer takes, case by case."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROW = 0.19  # inches
WIDTH = 10.5
# Colours of Okabe and Ito, which the colour-blind tell apart; a colour and a marker belong to one peer for good.
STYLES = {
    "tensorcircuit-ng": ("#0072B2", "o"),
    "tensorcircuit-ng, gates as written": ("#56B4E9", "D"),
    "default.qubit": ("#E69F00", "s"),
    "lightning.qubit": ("#D55E00", "^"),
    "qulacs": ("#009E73", "v"),
    "qsim": ("#CC79A7", "P"),
    "Aer": ("#000000", "X"),
    "qujax": ("#B8A100", "<"),
    "TorchQuantum": ("#7F7F7F", ">"),
}
Row = tuple[str, dict[str, float]]
Panel = tuple[str, list[tuple[str, list[Row]]]]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draws the panels one below the other, on one scale and with one legend.

    Args:
      panels: each is (title, groups); a group is (what the workload is, rows); a row is (case, ratio of each peer).
      path: of the PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    heights = [sum(1 + len(rows) for _, rows in groups) for _, groups in panels]
    ratios = [r for _, groups in panels for _, rows in groups for _, found in rows for r in found.values()]
    used = [name for name in STYLES if any(name in f for _, gs in panels for _, rows in gs for _, f in rows)]
    margins = 1.6 + 0.55 * (len(panels) - 1)  # legend, titles, axis labels
    height = ROW * sum(heights) + margins
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, height), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    limits = (min(0.5, 0.8 * min(ratios)), 1.5 * max(ratios))
    for axis, (title, groups) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, groups, limits)
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes[-1, 0].set_xlabel("time of the peer / time of qjax, logarithmic; right of 1 qjax is faster", fontsize=9)
    marks = [Line2D([], [], color=STYLES[p][0], marker=STYLES[p][1], linestyle="", label=p) for p in used]
    figure.tight_layout(rect=(0, 0.01, 1, 1 - 0.5 / height))
    figure.legend(handles=marks, loc="upper center", ncols=min(4, len(marks)), fontsize=9, frameon=False)
    note = "No mark: not measured, wrong result, or measured on another processor than qjax; RESULTS.md says which."
    figure.text(0.01, 0.004, note, fontsize=7, color="#555555")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(axis: Any, groups: list[tuple[str, list[Row]]], limits: tuple[float, float]) -> None:
    place = 0
    names: dict[int, str] = {}
    for number, (heading, rows) in enumerate(groups):
        back = "white" if number % 2 else "#F1F1F1"
        axis.axhspan(place - 0.5, place + len(rows) + 0.5, color=back, zorder=0)
        box = {"facecolor": back, "edgecolor": "none", "pad": 1.5}
        axis.text(1.03 * limits[0], place, heading, fontsize=8, fontweight="bold", va="center", bbox=box, zorder=2.5)
        for name, found in rows:
            place += 1
            names[place] = name
            axis.axhline(place, color="#DDDDDD", linewidth=0.6, zorder=1)
            for k, (peer, ratio) in enumerate(found.items()):
                colour, marker = STYLES[peer]
                height = place + 0.2 * (k - (len(found) - 1) / 2)  # equal ratios do not hide each other
                axis.plot(ratio, height, marker, color=colour, markersize=6, markeredgecolor="white", zorder=3)
        place += 1
    axis.axvline(1, color="black", linewidth=1.4, zorder=2)
    axis.set(xscale="log", xlim=limits, ylim=(place - 0.5, -0.5))
    ticks = [t for t in (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if limits[0] <= t <= limits[1]]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
    axis.minorticks_off()
    axis.set_yticks(list(names), list(names.values()), fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
