"""Optimizers that no library has as it stands: other oracles, worked numbers, or a twin with one difference removed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

MATRICES = {"square": (5, 5), "wide": (4, 9), "tall": (7, 3)}


def gradients(steps, seed=0):
    """Of random matrices, with one direction larger than the others, as gradients have."""
    draw = np.random.default_rng(seed)
    return [
        {
            name: draw.normal(size=shape)
            + 2 * np.outer(draw.normal(size=shape[0]), draw.normal(size=shape[1]))
            for name, shape in MATRICES.items()
        }
        for _ in range(steps)
    ]


START = gradients(1, seed=1)[0]
SETTINGS = {"weight_decay": 0.1}


def torch_muon(torch, grads, **settings):
    """Parameters after every step, by name."""
    params = {name: torch.tensor(w, requires_grad=True) for name, w in START.items()}
    theirs = torch.optim.Muon(params.values(), 0.01, adjust_lr_fn="match_rms_adamw", **SETTINGS, **settings)
    path = []
    for g in grads:
        for name, p in params.items():
            p.grad = torch.tensor(g[name])
        theirs.step()
        path.append({name: p.detach().numpy().copy() for name, p in params.items()})
    return jax.tree.map(lambda *ws: np.stack(ws), *path)


def our_muon(grads, **settings):
    tx = optim.muon(0.01, consistent_rms=0.2, **SETTINGS, **settings)

    @jax.jit
    def run(start, grads):
        def body(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(body, (start, tx.init(start)), grads)[1]

    with jax.enable_x64(True):
        path = run(
            jax.tree.map(jnp.asarray, START), jax.tree.map(lambda *g: jnp.asarray(np.stack(g)), *grads)
        )
        return jax.tree.map(np.asarray, path)


@pytest.mark.slow
def test_muon_matches_torch_but_for_its_rounding(monkeypatch):
    """PyTorch rounds to bfloat16 in one place, before it iterates. Without that, 100 steps agree to 1e-6."""
    torch = pytest.importorskip("torch")
    grads = gradients(100)
    ours, rounded = our_muon(grads, nesterov=False), torch_muon(torch, grads[:1], nesterov=False)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.clone())
    exact = torch_muon(torch, grads, nesterov=False)
    for name, path in exact.items():
        np.testing.assert_allclose(ours[name], path, rtol=1e-6, atol=1e-6)
        assert np.abs(path[-1] - START[name]).max() > 0.1
        # A rounding of 2^-9 in each of three products of each of five iterations, and of the entries that they start
        # from; a singular value near 1, where the iteration takes them all, passes an error on without amplifying it.
        scale = 0.01 * 0.2 * np.sqrt(max(path[-1].shape))
        error = np.abs(rounded[name][0] - ours[name][0]).max() / scale
        assert 2**-9 / 10 < error < 16 * 2**-9, (name, error)


@pytest.mark.slow
def test_muon_with_nesterov_momentum_tends_to_the_direction_of_torch(monkeypatch):
    """The bias correction, which PyTorch leaves out, is another weight of the last gradient at first alone."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.clone())
    grads = gradients(200)
    ours, theirs = our_muon(grads, nesterov=True), torch_muon(torch, grads, nesterov=True)
    for name in MATRICES:
        steps = [np.diff(path[name], axis=0, prepend=START[name][None]) for path in (ours, theirs)]
        apart = np.abs(steps[0] - steps[1]).max(axis=(1, 2)) / np.abs(steps[1]).max()
        assert apart[0] < 1e-6  # of one gradient there is one direction
        assert apart[1:5].max() > 0.01
        assert apart[-5:].max() < 1e-3


@pytest.mark.slow
def test_delta_bar_delta_is_the_rule_inside_t_sne_of_scikit_learn():
    """There gains start at 0.8, grow by 0.2 and shrink by a fifth; the sign is compared with the last step's."""
    t_sne = pytest.importorskip("sklearn.manifold._t_sne")
    curvature, target = np.array([0.3, 2.0, 11.0]), np.array([1.0, -2.0, 3.0])
    start, path = np.array([4.0, 1.0, -2.0]), []

    def objective(p, compute_error):
        del compute_error
        path.append(p.copy())
        return -len(path), curvature * (p - target)

    end, *_ = t_sne._gradient_descent(objective, start, 0, 60, momentum=0.0, learning_rate=0.05, min_gain=0.0)
    want = np.array([*path, end])
    with jax.enable_x64(True):
        tx = optim.delta_bar_delta(0.8 * 0.05, kappa=0.2 / 0.8, phi=0.2, decay=0.0)

        def body(carry, _):
            p, state = carry
            updates, state = tx.update(curvature * (p - target), state)
            return (optax.apply_updates(p, updates), state), p

        p = jnp.asarray(start)
        (last, _), ours = jax.lax.scan(body, (p, tx.init(p)), length=60)
    np.testing.assert_allclose(np.array([*ours, last]), want, rtol=1e-9, atol=1e-12)
    steps = np.sign(np.diff(want, axis=0))
    assert (steps[1:, 2] != steps[:-1, 2]).sum() > 3  # the steep direction turned, the flat one never
    assert (steps[:, 0] == -1).all()


def test_delta_bar_delta_compares_with_an_average_by_hand():
    """Gradients 1, 1, -1, -1, -1; average, decay 0.8: 0.2, 0.36, 0.088, -0.1296. At the fourth the last gradient has
    the sign of the new one and the average has not yet, so the gain shrinks twice before it grows."""
    tx = optim.scale_by_delta_bar_delta(kappa=0.1, phi=0.1, decay=0.8)
    state, seen = tx.init(jnp.zeros(())), []
    for g in (1.0, 1.0, -1.0, -1.0, -1.0):
        direction, state = tx.update(jnp.asarray(g), state)
        seen.append((float(direction), float(state.average)))
    want = [(1, 0.2), (1.1, 0.36), (-0.99, 0.088), (-0.891, -0.1296), (-0.991, -0.30368)]
    np.testing.assert_allclose(seen, want, rtol=1e-6)
