"""Early stopping by hand-made series."""

import pytest

from qjax.config_schema import CHOICES
from qjax.training.stopping import METRIC_MODES, EarlyStopping

NAN = float("nan")


def follow(metric: str, patience: int, values: list[float]) -> list[EarlyStopping]:
    """Returns the state after each validation; the first is at step 10, the next at 20."""
    states = [EarlyStopping(metric=metric, patience=patience)]
    for number, value in enumerate(values, start=1):
        states.append(states[-1].update(10 * number, value, loss=1.0))
    return states[1:]


@pytest.mark.parametrize(
    ("metric", "values", "best", "best_step", "num_worse"),
    [
        ("accuracy", [0.5, 0.7, 0.6], 0.7, 20, 1),
        ("loss", [0.5, 0.7, 0.6], 0.5, 10, 2),
        ("f1", [0.0, 0.0, 0.0], 0.0, 10, 2),  # of equal values and losses the first
        ("accuracy", [0.7, 0.6, 0.7], 0.7, 10, 2),
        ("loss", [NAN, 0.9, NAN], 0.9, 20, 1),
        ("accuracy", [NAN, NAN], None, 0, 2),
        ("loss", [1.0, -1.0], -1.0, 20, 0),
        ("loss", [float("inf"), 3.0], 3.0, 20, 0),
    ],
)
def test_best_value_and_validations_since(
    metric: str, values: list[float], best: float | None, best_step: int, num_worse: int
) -> None:
    last = follow(metric, 3, values)[-1]
    assert (last.best, last.best_step, last.num_worse) == (best, best_step, num_worse)


def test_a_tie_with_a_lower_loss_is_the_best_and_wears_out_patience_all_the_same() -> None:
    state = EarlyStopping(metric="accuracy", patience=4)
    seen = []
    for step, (value, loss) in enumerate([(0.96, 0.4), (0.96, 0.3), (0.5, 0.1), (0.96, 0.35), (0.96, 0.2)]):
        state = state.update(step, value, loss)
        seen.append((state.best_step, state.best_loss, state.num_worse, state.should_stop))
    assert seen == [(0, 0.4, 0, False), (1, 0.3, 1, False), (1, 0.3, 2, False), (1, 0.3, 3, False), (4, 0.2, 4, True)]


@pytest.mark.parametrize(("patience", "stops_at"), [(1, 3), (2, 4), (3, 8), (0, None)])
def test_stops_after_so_many_validations_without_a_better_one(patience: int, stops_at: int | None) -> None:
    # 0.4, the fifth, starts the count anew.
    states = follow("accuracy", patience, [0.1, 0.3, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1])
    assert next((number for number, state in enumerate(states, start=1) if state.should_stop), None) == stops_at


def test_nothing_stops_before_the_first_validation() -> None:
    assert not EarlyStopping(metric="loss", patience=1).should_stop


def test_the_counts_survive_a_checkpoint() -> None:
    state = follow("loss", 2, [0.5, 0.6])[-1]
    saved = state.to_dict()
    assert saved == {"best": 0.5, "best_step": 10, "best_loss": 1.0, "num_worse": 1}
    assert EarlyStopping(metric="loss", patience=2).restored(saved) == state
    assert EarlyStopping(metric="loss", patience=2).restored(saved).update(30, 0.7, 0.7).should_stop


def test_a_checkpoint_from_before_losses_were_kept_goes_on() -> None:
    old = EarlyStopping(metric="f1", patience=9).restored({"best": 0.5, "best_step": 10, "num_worse": 1})
    assert old.update(20, 0.5, 0.7) == EarlyStopping("f1", 9, best=0.5, best_step=20, best_loss=0.7, num_worse=2)


def test_modes_of_the_metrics() -> None:
    assert set(METRIC_MODES) == set(CHOICES["train.metric"])
    assert [name for name, mode in METRIC_MODES.items() if mode == "min"] == ["loss"]
