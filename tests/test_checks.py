"""Every check passes what obeys the rule, and names argument, rule and value of what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import checks

x = jnp.zeros((2, 3))
REFUSED = [
    pytest.param(
        lambda: checks.rank(1, logits=x),
        ValueError,
        r"logits must have rank 1, got shape \(2, 3\)",
        id="rank",
    ),
    pytest.param(lambda: checks.rank((3, 4), image=x), ValueError, "image must have rank 3 or 4", id="ranks"),
    pytest.param(
        lambda: checks.shape((None, 4), x=x),
        ValueError,
        r"x must have shape \(any, 4\), got \(2, 3\)",
        id="shape",
    ),
    pytest.param(
        lambda: checks.shape((2,), x=x), ValueError, r"x must have shape \(2\)", id="shape of other rank"
    ),
    pytest.param(
        lambda: checks.same_shape(a=x, b=x.T),
        ValueError,
        r"b must have the shape of a, \(2, 3\), got \(3, 2\)",
        id="same",
    ),
    pytest.param(
        lambda: checks.same_leading(a=x, b=x.T),
        ValueError,
        "b and a must agree in the first axis, got",
        id="leading",
    ),
    pytest.param(
        lambda: checks.floating(y=np.zeros(2, int)),
        TypeError,
        "y must be floating point, got int64",
        id="floating",
    ),
    pytest.param(
        lambda: checks.integer(labels=x), TypeError, "labels must be integers, got float32", id="integer"
    ),
    pytest.param(
        lambda: checks.integer(labels=np.array([True])), TypeError, "got bool", id="bool is no integer"
    ),
    pytest.param(lambda: checks.boolean(mask=x), TypeError, "mask must be bool, got float32", id="boolean"),
    pytest.param(
        lambda: checks.positive(rate=0.0),
        ValueError,
        "rate must be positive and finite, got 0.0",
        id="positive",
    ),
    pytest.param(lambda: checks.positive(rate=float("nan")), ValueError, "got nan", id="positive nan"),
    pytest.param(lambda: checks.positive(rate=float("inf")), ValueError, "got inf", id="positive inf"),
    pytest.param(lambda: checks.at_least(1, k=0), ValueError, "k must be at least 1, got 0", id="at least"),
    pytest.param(lambda: checks.at_least(1, k=float("nan")), ValueError, "got nan", id="at least nan"),
    pytest.param(
        lambda: checks.between(0, 1, p=1.5), ValueError, "p must be between 0 and 1, got 1.5", id="between"
    ),
    pytest.param(lambda: checks.non_negative(l2=-0.1), ValueError, "l2 must .*got -0.1", id="non-negative"),
    pytest.param(lambda: checks.decay(b1=1.0), ValueError, "b1 must .*got 1.0", id="decay"),
    pytest.param(
        lambda: checks.same_shape(a=[1, 2], b=3.0),
        ValueError,
        "b must have the shape of a",
        id="lists and numbers",
    ),
    pytest.param(
        lambda: checks.one_of(("a", "b"), mode="c"),
        ValueError,
        "mode must be one of 'a', 'b', got 'c'",
        id="one of",
    ),
    pytest.param(
        lambda: checks.divisible(8, "devices", batch=12),
        ValueError,
        "batch must be a multiple of devices, got 12 and 8",
        id="divisible",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED)
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_accepted():
    checks.rank(2, x=x)
    checks.rank((1, 2), x=x, y=np.zeros(3))
    checks.shape((None, 3), x=x)
    checks.same_shape(a=x, b=x + 1)
    checks.same_leading(2, a=x, b=jnp.zeros((2, 3, 9)))
    checks.floating(x=x, half=x.astype(jnp.bfloat16))
    checks.integer(labels=jnp.zeros(2, jnp.int32), small=np.zeros(2, np.uint8))
    checks.boolean(mask=x > 0)
    checks.positive(rate=1e-9)
    checks.at_least(0, k=0)
    checks.between(0, 1, p=0, q=1)
    checks.one_of(("a", None), mode=None)
    checks.divisible(4, "devices", batch=12)


def test_checks_cost_nothing_when_traced_and_leave_traced_settings_alone():
    def f(x, rate):
        checks.rank(2, x=x)
        checks.positive(rate=rate)  # data under jit: cannot be judged without a sync
        return x * rate

    assert str(jax.make_jaxpr(f)(x, 0.0)).count("mul") == 1
    assert len(jax.make_jaxpr(f)(x, 0.0).eqns) <= 2
    with pytest.raises(ValueError, match="x must have rank 2"):
        jax.jit(f)(jnp.zeros(3), 1.0)
