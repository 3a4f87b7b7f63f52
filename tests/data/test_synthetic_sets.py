"""Synthetic sets as a table: the same numbers eager, jitted and under vmap; what they learn is tested by set."""

import jax
import numpy as np
import pytest

from jaxdl import data

SETS = {
    "moons": {},
    "spirals": {},
    "blobs": {},
    "gaussian_ring": {},
    "classification_data": {},
    "linear_regression_data": {"noise": 0.5},
    "correlated_gaussian": {},
    "shapes": {"max_objects": 3},
    "moving_shapes": {},
    "two_domains": {"image_size": 16},
    "drawn_faces": {"image_size": 24},
    "tone_sequences": {"max_tokens": 2},
    "toy_grammar": {},
    "ratings": {},
    "graphs": {},
    "process_faults": {"length": 40},
}
# Sums in another order, amplified where a set is a fed-back process or a ratio of densities.
LOOSE = {"process_faults": 1e-4, "classification_data": 1e-3, "tone_sequences": 1e-4}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_eager_equals_jit_equals_vmap(name, key):
    def make(key):
        return getattr(data, name)(key, 5, **SETS[name])

    eager, jitted = make(key), jax.jit(make)(key)
    together = jax.jit(jax.vmap(make))(jax.random.split(key, 3)[1][None])
    alone = make(jax.random.split(key, 3)[1])
    tolerance = LOOSE.get(name, 2e-6)
    for field, values in eager.items():
        assert len(values) == 5, field
        np.testing.assert_allclose(jitted[field], values, rtol=tolerance, atol=tolerance, err_msg=field)
        np.testing.assert_allclose(
            together[field][0], alone[field], rtol=tolerance, atol=tolerance, err_msg=field
        )


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_at_least_one_example(name, key):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        getattr(data, name)(key, 0)
