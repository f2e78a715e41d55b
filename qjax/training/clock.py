"""Time that a run takes, and durations in words."""

import time


class Clock:
    """Seconds of a run: those since this was made, and those that its earlier parts took before they were stopped."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._earlier = 0.0

    def resume(self, seconds: float) -> None:
        """Takes in the seconds up to the checkpoint that the run goes on from; work done after it was lost."""
        self._earlier = seconds

    def seconds(self) -> float:
        """Returns the seconds of all parts so far."""
        return self._earlier + time.perf_counter() - self._began


def in_words(seconds: float) -> str:
    """Returns a duration in its two largest units, such as '45 s', '3 min 20 s' or '2 h 5 min'."""
    whole = max(0, round(seconds))
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size} {smaller}"
    return f"{whole} s"
