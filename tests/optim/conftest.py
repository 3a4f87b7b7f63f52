"""The table of optimizers: ours, the published recurrence in NumPy, and the twins of Optax and PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax
import pytest

from jaxdl import optim

# --- The papers' recurrences in float64 NumPy: learning rate -> a function that steps one array, (theta, g) -> theta.


def descent(lr):
    return lambda theta, g: theta - lr * g


def momentum(lr, mu=0.9):
    v = 0.0

    def step(theta, g):
        nonlocal v
        v = mu * v + g
        return theta - lr * v

    return step


def ema_momentum(lr, beta=0.9):
    v = 0.0

    def step(theta, g):
        nonlocal v
        v = beta * v + (1 - beta) * g
        return theta - lr * v

    return step


def nesterov(lr, mu=0.9):
    """The published form; takes and returns the look-ahead point, where the next gradient is taken."""
    v, theta = 0.0, None

    def step(ahead, g):
        nonlocal v, theta
        theta = ahead if theta is None else theta
        v = mu * v - lr * g
        theta = theta + v
        return theta + mu * v

    return step


def adagrad(lr, total=0.1, eps=1e-7):
    def step(theta, g):
        nonlocal total
        total = total + g**2
        return theta - lr * g / np.sqrt(total + eps)

    return step


def adadelta(lr, rho=0.9, eps=1e-6, l2=0.0):
    e_g = e_u = 0.0

    def step(theta, g):
        nonlocal e_g, e_u
        g = g + l2 * theta
        e_g = rho * e_g + (1 - rho) * g**2
        u = np.sqrt(e_u + eps) / np.sqrt(e_g + eps) * g
        e_u = rho * e_u + (1 - rho) * u**2
        return theta - lr * u

    return step


def rmsprop(lr, rho=0.9, eps=1e-8, scale=0.0, inside=True, centered=False, mu=0.0, lead=False):
    v, m, velocity = scale, 0.0, 0.0

    def step(theta, g):
        nonlocal v, m, velocity
        v, m = rho * v + (1 - rho) * g**2, rho * m + (1 - rho) * g
        power = v - m**2 if centered else v
        u = g / (np.sqrt(power + eps) if inside else np.sqrt(power) + eps)
        velocity = mu * velocity + u
        return theta - lr * (u + mu * velocity if lead else velocity)

    return step


def adam(lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, nesterov=False, variant="adam", trust=False):
    """Adam and its relatives, which differ in the denominator; eps where the source of each has it."""
    m, v, largest, t = 0.0, 0.0, 0.0, 0
    if variant == "yogi":
        m = v = 1e-6

    def step(theta, g):
        nonlocal m, v, largest, t
        t += 1
        m = b1 * m + (1 - b1) * g
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        if variant == "adamax":
            v = np.maximum(b2 * v, np.abs(g) + eps)
            u = m_hat / v
        elif variant == "adabelief":
            v = b2 * v + (1 - b2) * (g - m) ** 2 + eps
            u = m_hat / (np.sqrt(v / (1 - b2**t)) + eps)
        elif variant == "adamomentum":
            v = b2 * v + (1 - b2) * m**2 + eps
            u = m_hat / np.sqrt(v / (1 - b2**t))
        elif variant == "yogi":
            v = v - (1 - b2) * np.sign(v - g**2) * g**2
            u = m_hat / (np.sqrt(v / (1 - b2**t)) + eps)
        else:
            v = b2 * v + (1 - b2) * g**2
            v_hat = v / (1 - b2**t)
            if variant in ("amsgrad", "amsgrad-published"):
                largest = np.maximum(largest, v_hat if variant == "amsgrad" else v)
                m_hat, v_hat = (m_hat if variant == "amsgrad" else m), largest
            u = m_hat / (np.sqrt(v_hat) + eps)
            if variant == "radam":
                rho_inf = 2 / (1 - b2) - 1
                rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
                r = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
                u = u * np.sqrt(r) if rho > 5 else m_hat
        u = u + decay * theta
        if trust:
            lengths = np.linalg.norm(theta), np.linalg.norm(u)
            u = u * (lengths[0] / lengths[1] if min(lengths) > 0 else 1.0)
        return theta - lr * u

    return step


def lars(lr, l2=0.0, trust=0.001, mu=0.9, lead=False):
    v = 0.0

    def step(theta, g):
        nonlocal v
        g = g + l2 * theta
        lengths = np.linalg.norm(theta), np.linalg.norm(g)
        g = lr * g * (trust * lengths[0] / lengths[1] if min(lengths) > 0 else 1.0)
        v = mu * v + g
        return theta - (g + mu * v if lead else v)

    return step


def adafactor(lr, least=128, relative=True, d=1.0, mu=None, decay=0.0, eps=1e-30):
    row = col = v = average = 0.0
    t = 0

    def step(theta, g):
        nonlocal row, col, v, average, t
        t += 1
        b = 1 - t**-0.8
        if g.ndim == 2 and min(g.shape) >= least:
            row = b * row + (1 - b) * (g**2 + eps).mean(axis=1)
            col = b * col + (1 - b) * (g**2 + eps).mean(axis=0)
            v = np.outer(row, col) / row.mean()
        else:
            v = b * v + (1 - b) * (g**2 + eps)
        u = g / np.sqrt(v)
        u = u / max(1, np.sqrt(np.mean(u**2)) / d)
        u = lr * u * (max(1e-3, np.sqrt(np.mean(theta**2))) if relative else 1.0)
        if mu is not None:
            average = mu * average + (1 - mu) * u
            u = average
        return theta - u - decay * theta

    return step


def lion(lr, b1=0.9, b2=0.99, decay=1e-3):
    m = 0.0

    def step(theta, g):
        nonlocal m
        u = np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
        return theta - lr * (u + decay * theta)

    return step


def rprop(lr, minus=0.5, plus=1.2, low=1e-6, high=50.0):
    size, last = lr, 0.0

    def step(theta, g):
        nonlocal size, last
        turned, kept = g * last < 0, g * last > 0
        size = np.where(turned, np.maximum(size * minus, low), size)
        size = np.where(kept, np.minimum(size * plus, high), size)
        last = np.where(turned, 0.0, g)
        return theta - size * np.sign(last)

    return step


def delta_bar_delta(lr, kappa=0.1, phi=0.1, decay=0.7):
    """As published, with a rate per weight."""
    rate, average = lr, 0.0

    def step(theta, g):
        nonlocal rate, average
        change = np.where(average * g > 0, lr * kappa, np.where(average * g < 0, -phi * rate, 0.0))
        rate = rate + change
        average = decay * average + (1 - decay) * g
        return theta - rate * g

    return step


def muon(
    lr, coefficients=((3.4445, -4.7750, 2.0315),) * 5, nesterov=True, decay=0.0, rms=None, adaptive=False
):
    """On singular values: the iteration never turns a singular vector."""
    m, t = 0.0, 0
    other = adam(lr, nesterov=nesterov)

    def step(theta, g):
        nonlocal m, t
        if theta.ndim != 2:
            return other(theta, g)
        t += 1
        m = 0.95 * m + 0.05 * g
        mean = m / (1 - 0.95**t)
        if nesterov:
            mean = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
        left, s, right = np.linalg.svd(mean, full_matrices=False)
        before = s
        s = s / (np.sqrt(np.sum(s**2)) + 1e-8)
        for a, b, c in coefficients:
            s = a * s + b * s**3 + c * s**5
        u = (left * s) @ right * (np.sum(before * s) if adaptive else 1.0)
        rows, columns = theta.shape
        scale = np.sqrt(max(1, columns / rows)) if rms is None else rms * np.sqrt(max(rows, columns))
        return theta - lr * (scale * u + decay * theta)

    return step


def lookahead(lr, k=5, alpha=0.5):
    fast, slow, t = momentum(lr), None, 0

    def step(theta, g):
        nonlocal slow, t
        slow = theta if slow is None else slow
        theta, t = fast(theta, g), t + 1
        if t % k == 0:
            slow = theta = slow + alpha * (theta - slow)
        return theta

    return step


# --- The table. A dash in its name makes a row a variant of the one before.

DION = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Row(NamedTuple):
    id: str
    ours: Callable[..., optax.GradientTransformation]  # of the learning rate
    paper: Callable[..., Any]  # of the learning rate
    library: Callable[..., optax.GradientTransformation] | None  # Optax's twin, of the learning rate
    torch: Callable[..., Any] | None = None  # (torch, params, learning rate) -> torch optimizer
    rate: float = 0.1  # reaches the minimum of the quadratic with it
    rates: int = 1  # how many learning rates its state holds
    exact_library: bool = True  # whether the twin is right in float32 too
    layered: bool = False  # looks at whole arrays, so it is trained on a tree of them and not on one vector
    step: float = 0.01  # learning rate of the comparison; small enough for rounding not to be amplified


ROWS = [
    Row(
        "gradient_descent",
        optim.gradient_descent,
        descent,
        optax.sgd,
        lambda torch, p, lr: torch.optim.SGD(p, lr),
    ),
    Row("sgd", optim.sgd, descent, optax.sgd, lambda torch, p, lr: torch.optim.SGD(p, lr)),
    Row(
        "sgd-momentum",
        lambda lr: optim.sgd(lr, 0.8),
        lambda lr: momentum(lr, 0.8),
        lambda lr: optax.sgd(lr, 0.8),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.8),
    ),
    Row(
        "sgd-nesterov",
        lambda lr: optim.sgd(lr, 0.8, nesterov=True),
        lambda lr: nesterov(lr, 0.8),
        lambda lr: optax.sgd(lr, 0.8, nesterov=True),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.8, nesterov=True),
    ),
    Row(
        "momentum",
        optim.momentum,
        momentum,
        lambda lr: optax.sgd(lr, 0.9),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    ),
    Row(
        "ema_momentum",
        optim.ema_momentum,
        ema_momentum,
        lambda lr: optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(lr)),
    ),
    Row(
        "nesterov",
        optim.nesterov,
        nesterov,
        lambda lr: optax.sgd(lr, 0.9, nesterov=True),
        lambda torch, p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    ),
    Row("adagrad", optim.adagrad, adagrad, optax.adagrad, rate=1.0),
    Row(
        "adagrad-eps-0",
        lambda lr: optim.adagrad(lr, 0.5, 0.0),
        lambda lr: adagrad(lr, 0.5, 0.0),
        lambda lr: optax.adagrad(lr, 0.5, 0.0),
        lambda torch, p, lr: torch.optim.Adagrad(p, lr, initial_accumulator_value=0.5, eps=0.0),
        rate=1.0,
    ),
    Row(
        "adadelta",
        optim.adadelta,
        adadelta,
        optax.adadelta,
        lambda torch, p, lr: torch.optim.Adadelta(p, lr),
        rate=10.0,
    ),
    Row(
        "adadelta-decay",
        lambda lr: optim.adadelta(lr, 0.95, 1e-3, 1e-4),
        lambda lr: adadelta(lr, 0.95, 1e-3, 1e-4),
        lambda lr: optax.adadelta(lr, 0.95, 1e-3, 1e-4),
        lambda torch, p, lr: torch.optim.Adadelta(p, lr, 0.95, 1e-3, 1e-4),
        rate=1.0,
    ),
    Row("rmsprop", optim.rmsprop, rmsprop, optax.rmsprop, rate=0.01, step=1e-3),
    Row(
        "rmsprop-outside",
        lambda lr: optim.rmsprop(lr, 0.95, 1e-4, 0.2, eps_in_sqrt=False),
        lambda lr: rmsprop(lr, 0.95, 1e-4, 0.2, False),
        lambda lr: optax.rmsprop(lr, 0.95, 1e-4, 0.2, eps_in_sqrt=False),
        rate=0.01,
    ),
    Row(
        "rmsprop-centered-momentum",
        lambda lr: optim.rmsprop(lr, 0.9, 0.1, eps_in_sqrt=False, centered=True, momentum=0.5),
        lambda lr: rmsprop(lr, 0.9, 0.1, 0.0, False, True, 0.5),
        lambda lr: optax.rmsprop(lr, 0.9, 0.1, eps_in_sqrt=False, centered=True, momentum=0.5),
        lambda torch, p, lr: torch.optim.RMSprop(p, lr, 0.9, 0.1, momentum=0.5, centered=True),
        rate=1e-3,
    ),
    Row(
        "rmsprop-nesterov",
        lambda lr: optim.rmsprop(lr, momentum=0.5, nesterov=True),
        lambda lr: rmsprop(lr, mu=0.5, lead=True),
        lambda lr: optax.rmsprop(lr, momentum=0.5, nesterov=True),
        rate=5e-3,
        step=1e-3,
    ),
    Row(
        "rmsprop-corrected",  # Adam without a first moment
        lambda lr: optim.rmsprop(lr, 0.99, eps_in_sqrt=False, bias_correction=True),
        lambda lr: adam(lr, 0.0, 0.99),
        lambda lr: optax.rmsprop(lr, 0.99, eps_in_sqrt=False, bias_correction=True),
        lambda torch, p, lr: torch.optim.Adam(p, lr, (0.0, 0.99)),
        rate=0.01,
    ),
    Row("adam", optim.adam, adam, optax.adam, lambda torch, p, lr: torch.optim.Adam(p, lr)),
    Row(
        "adam-settings",
        lambda lr: optim.adam(lr, 0.8, 0.99, 1e-3),
        lambda lr: adam(lr, 0.8, 0.99, 1e-3),
        lambda lr: optax.adam(lr, 0.8, 0.99, 1e-3),
        lambda torch, p, lr: torch.optim.Adam(p, lr, (0.8, 0.99), 1e-3),
    ),
    Row(
        "adamw",
        lambda lr: optim.adamw(lr, weight_decay=1e-3),
        lambda lr: adam(lr, decay=1e-3),
        lambda lr: optax.adamw(lr, weight_decay=1e-3),
        lambda torch, p, lr: torch.optim.AdamW(p, lr, weight_decay=1e-3),
    ),
    Row("nadam", optim.nadam, lambda lr: adam(lr, nesterov=True), optax.nadam),
    Row(
        "adamax",
        optim.adamax,
        lambda lr: adam(lr, variant="adamax"),
        optax.adamax,
        lambda torch, p, lr: torch.optim.Adamax(p, lr),
    ),
    Row("amsgrad", optim.amsgrad, lambda lr: adam(lr, variant="amsgrad"), optax.amsgrad),
    Row(
        "amsgrad-published",
        lambda lr: optim.amsgrad(lr, bias_correction_mu=False, bias_correction_nu=False),
        lambda lr: adam(lr, variant="amsgrad-published"),
        lambda lr: optax.amsgrad(lr, bias_correction_mu=False, bias_correction_nu=False),
        rate=0.01,
    ),
    Row(
        "radam",
        lambda lr: optim.radam(lr, eps=1e-30),  # without eps its place, where PyTorch differs, is no matter
        lambda lr: adam(lr, eps=1e-30, variant="radam"),
        lambda lr: optax.radam(lr, eps=1e-30),
        lambda torch, p, lr: torch.optim.RAdam(p, lr, eps=1e-30),
        exact_library=False,  # its rho_t cancels
    ),
    Row(
        "radam-nesterov",
        lambda lr: optim.radam(lr, 0.8, 0.99, nesterov=True),
        lambda lr: adam(lr, 0.8, 0.99, nesterov=True, variant="radam"),
        lambda lr: optax.radam(lr, 0.8, 0.99, nesterov=True),
    ),
    Row(
        "adabelief",
        optim.adabelief,
        lambda lr: adam(lr, eps=1e-16, variant="adabelief"),
        optax.adabelief,
        rate=1e-2,
    ),
    Row(
        "adabelief-nesterov",
        lambda lr: optim.adabelief(lr, eps=1e-4, eps_root=1e-4, nesterov=True),
        lambda lr: adam(lr, eps=1e-4, nesterov=True, variant="adabelief"),
        lambda lr: optax.adabelief(lr, eps=1e-4, eps_root=1e-4, nesterov=True),
    ),
    Row(
        "adamomentum",
        optim.adamomentum,
        lambda lr: adam(lr, eps=1e-16, variant="adamomentum"),
        # Optax has its parts: a running average, and the root mean square of what comes out of it.
        lambda lr: optax.chain(
            optax.ema(0.9, debias=False),
            optax.scale_by_rms(0.999, 1e-30, bias_correction=True),
            optax.scale_by_schedule(lambda t: 1 / (1 - 0.9 ** (t + 1))),
            optax.scale_by_learning_rate(lr),
        ),
        rate=1e-2,
    ),
    Row("yogi", optim.yogi, lambda lr: adam(lr, eps=1e-3, variant="yogi"), optax.yogi),
    Row("adafactor", optim.adafactor, adafactor, optax.adafactor, rate=1e-3, layered=True),
    Row(
        "adafactor-factored",
        lambda lr: optim.adafactor(lr, min_dim_size_to_factor=2),
        lambda lr: adafactor(lr, 2),
        lambda lr: optax.adafactor(lr, min_dim_size_to_factor=2),
        lambda torch, p, lr: torch.optim.Adafactor(p, lr, eps=(1e-15, 1e-3), weight_decay=0.0),
        rate=1e-3,
        layered=True,
    ),
    Row(
        "adafactor-settings",
        lambda lr: optim.adafactor(
            lr,
            3,
            multiply_by_parameter_scale=False,
            clipping_threshold=0.5,
            momentum=0.9,
            weight_decay_rate=1e-6,
            dtype_momentum=None,
        ),
        lambda lr: adafactor(lr, 3, relative=False, d=0.5, mu=0.9, decay=1e-6),
        lambda lr: optax.adafactor(
            lr,
            3,
            multiply_by_parameter_scale=False,
            clipping_threshold=0.5,
            momentum=0.9,
            weight_decay_rate=1e-6,
            dtype_momentum=None,
        ),
        rate=1e-2,
        layered=True,
    ),
    Row(
        "lamb",
        lambda lr: optim.lamb(lr, weight_decay=1e-4),
        lambda lr: adam(lr, eps=1e-6, decay=1e-4, trust=True),
        lambda lr: optax.lamb(lr, weight_decay=1e-4),
        rate=1e-3,
        layered=True,
    ),
    Row(
        "lars",
        lambda lr: optim.lars(lr, 1e-4),
        lambda lr: lars(lr, 1e-4),
        lambda lr: optax.lars(lr, 1e-4),
        rate=1.0,
        layered=True,
    ),
    Row(
        "lars-nesterov",
        lambda lr: optim.lars(lr, trust_coefficient=0.01, momentum=0.5, nesterov=True),
        lambda lr: lars(lr, trust=0.01, mu=0.5, lead=True),
        lambda lr: optax.lars(lr, trust_coefficient=0.01, momentum=0.5, nesterov=True),
        rate=0.1,
        layered=True,
    ),
    Row(
        "signsgd",
        optim.signsgd,
        lambda lr: lambda theta, g: theta - lr * np.sign(g),
        optax.sign_sgd,
        rate=0.01,
    ),
    Row("lion", optim.lion, lion, optax.lion, rate=1e-3),
    Row(
        "rprop",
        optim.rprop,
        rprop,
        None,  # Optax 0.2.8 applies every step one step late
        lambda torch, p, lr: torch.optim.Rprop(p, lr),
        rates=0,
    ),
    Row("delta_bar_delta", optim.delta_bar_delta, delta_bar_delta, None, rate=0.01),
    Row("muon", optim.muon, muon, optax.contrib.muon, rates=2, layered=True),
    Row(
        "muon-settings",
        lambda lr: optim.muon(
            lr, "dion", weight_decay=1e-3, nesterov=False, adaptive=True, consistent_rms=0.2
        ),
        lambda lr: muon(lr, DION, False, 1e-3, 0.2, True),
        lambda lr: optax.contrib.muon(
            lr, "dion", weight_decay=1e-3, nesterov=False, adaptive=True, consistent_rms=0.2
        ),
        rates=2,
        layered=True,
    ),
    Row("lookahead", lambda lr: optim.lookahead(optim.sgd(lr, 0.9), 5, 0.5), lookahead, None),
]


def _params(rows):
    return [pytest.param(row, id=row.id) for row in rows]


@pytest.fixture(params=_params(ROWS))
def row(request):
    """Every row."""
    return request.param


@pytest.fixture(params=_params(row for row in ROWS if "-" not in row.id))
def optimizer(request):
    """Every row but the variants."""
    return request.param


@pytest.fixture(
    params=[
        pytest.param(row, id=row.id, marks=pytest.mark.slow if "-" in row.id and row.exact_library else [])
        for row in ROWS
        if row.library
    ]
)
def twin(request):
    """Every row that Optax has too; variants are slow."""
    return request.param


@pytest.fixture(params=_params(row for row in ROWS if row.torch))
def torch_row(request):
    """Every row that PyTorch has too."""
    return request.param


@pytest.fixture
def all_rows():
    return ROWS
