"""Schedules, groups and masks of the optimizer against hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax.checks import UserError
from qjax.training.optimizer import decay_mask, label_params, make_optimizer, make_schedule

PARAMS = {
    "encoder": {"layers": {"dense": {"kernel": jnp.ones((2, 3, 3)), "bias": jnp.ones((2, 3))}}},
    "head": {
        "projection": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
        "quantum": {"ansatz": jnp.ones((1, 2))},
    },
}
SETTINGS = {
    "name": "sgd",
    "learning_rate": 0.1,
    "circuit_learning_rate": 0.2,
    "encoder_learning_rate": 0.3,
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "weight_decay": 0.5,
    "clip_norm": 0.0,
    "num_steps": 10,
}


@pytest.mark.parametrize(("schedule", "end"), [("cosine", 0.0), ("linear", 0.0), ("constant", 1.0)])
def test_schedule_rises_and_decays(schedule, end):
    rate = make_schedule(1.0, schedule=schedule, num_steps=100, warmup_fraction=0.1)
    values = [float(rate(step)) for step in range(101)]
    np.testing.assert_allclose(values[:11], np.linspace(0, 1, 11), atol=1e-6)
    assert values[100] == pytest.approx(end, abs=1e-6)
    if schedule == "cosine":
        assert values[55] == pytest.approx(0.5, abs=1e-6)


def test_each_group_has_its_learning_rate():
    optimizer = make_optimizer(**SETTINGS)
    gradient = {"encoder": PARAMS["encoder"], "head": PARAMS["head"]}
    updates, _ = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)
    assert float(updates["encoder"]["layers"]["dense"]["kernel"][0, 0, 0]) == pytest.approx(-0.3)
    assert float(updates["head"]["projection"]["kernel"][0, 0]) == pytest.approx(-0.1)
    assert float(updates["head"]["quantum"]["ansatz"][0, 0]) == pytest.approx(-0.2)


def test_decay_leaves_biases_norms_and_angles_alone():
    mask = decay_mask(PARAMS)
    assert mask["encoder"]["layers"]["dense"] == {"kernel": True, "bias": False}
    assert mask["head"]["projection"] == {"kernel": True, "bias": False}
    assert mask["head"]["quantum"] == {"ansatz": False}
    optimizer = make_optimizer(**{**SETTINGS, "name": "adamw"})
    gradient = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)
    assert float(updates["head"]["projection"]["kernel"][0, 0]) == pytest.approx(-0.1 * 0.5)
    assert float(updates["head"]["quantum"]["ansatz"][0, 0]) == 0.0
    assert float(updates["encoder"]["layers"]["dense"]["bias"][0, 0]) == 0.0


def test_clipping_by_global_norm():
    optimizer = make_optimizer(
        **{**SETTINGS, "clip_norm": 1.0, "circuit_learning_rate": 0.1, "encoder_learning_rate": 0.1}
    )
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    assert float(optax.tree.norm(updates)) == pytest.approx(0.1, rel=1e-5)


def test_groups():
    labels = label_params(PARAMS)
    assert labels["encoder"]["layers"]["dense"]["kernel"] == "encoder"
    assert labels["head"]["projection"]["bias"] == "head"
    assert labels["head"]["quantum"]["ansatz"] == "circuit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"name": "adam"}, "Choices: adamw, sgd"),
        ({"warmup_fraction": 1.0}, "lie in \\[0, 1\\)"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(**{**SETTINGS, **change})
