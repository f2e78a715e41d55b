"""Pictures; the only place that knows matplotlib. Figures stand alone: pyplot and its global state are not used."""

from qjax.visualization.circuits import draw_circuit as draw_circuit
from qjax.visualization.confusion import plot_confusion as plot_confusion
from qjax.visualization.curves import plot_curves as plot_curves
from qjax.visualization.success import plot_success as plot_success
