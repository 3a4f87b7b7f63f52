"""How the tests of synthetic sets make them."""

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def made():
    """Makes a set under jit and vmap, and checks what holds for each: a key decides all, another key makes another set.

    Numbers after the key are traced, so one program serves several settings.
    """
    programs = {}

    def make(task, *traced, seed=0):
        if task not in programs:
            programs[task] = jax.jit(jax.vmap(task, in_axes=(0, *(None for _ in traced))))
        keys = jax.random.wrap_key_data(np.array([[0, seed], [0, seed], [0, seed + 1]], np.uint32))
        table = {name: np.asarray(values) for name, values in programs[task](keys, *traced).items()}
        first, same, other = ({name: values[i] for name, values in table.items()} for i in range(3))
        for name, values in first.items():
            np.testing.assert_array_equal(values, same[name], err_msg=name)
            assert values.dtype in (np.float32, np.int32, np.bool_), name
        assert any((values != other[name]).any() for name, values in first.items())
        return first

    return make
