"""What every loss must do, checked for one loss at a time, in one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Most of the time goes into compiling; these programs run once.
FAST_TO_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def compiled(function):
    return jax.jit(function, compiler_options=FAST_TO_COMPILE)


def central_differences(function, arrays, which, cotangent, step=1e-6):
    """The gradient of sum(cotangent * function(*arrays)) in float64, number by number."""
    gradients = []
    for i in which:
        gradient = np.zeros_like(arrays[i])
        for place in np.ndindex(gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[i][place] += sign * step
                ends.append(np.sum(cotangent * function(*moved)))
            gradient[place] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def is_float(x):
    return np.issubdtype(x.dtype, np.floating)


def expanded(where, a):
    return where.reshape(where.shape + (1,) * (a.ndim - where.ndim))


def with_nan(arrays, where):
    """Arrays whose leading axes are the mask's, with nonsense where it is False."""
    hidden = []
    for a in arrays:
        if a.shape[: where.ndim] == where.shape and a.dtype != np.bool_:
            a = np.where(expanded(where, a), a, np.nan if is_float(a) else -100).astype(a.dtype)
        hidden.append(a)
    return hidden


def value_and_gradients(loss, arrays, which, cotangent, **options):
    def of(*chosen):
        replaced = list(arrays)
        for i, a in zip(which, chosen):
            replaced[i] = a
        return loss(*replaced, **options)

    value, pull = jax.vjp(of, *(arrays[i] for i in which))
    return value, pull(jnp.asarray(cotangent, value.dtype))


def torch_value_and_gradients(library, arrays, which, cotangent):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a) for a in arrays]
    for i in which:
        tensors[i].requires_grad_()
    value = library(torch.nn.functional, *tensors)
    value.backward(torch.tensor(cotangent))
    return value.detach().numpy(), [tensors[i].grad.numpy() for i in which]


def check(
    loss,
    arrays,
    reference,
    *,
    which=None,
    extremes=(),
    maskable=True,
    half=True,
    optax=None,
    torch=None,
    rtol=1e-5,
    atol=1e-6,
):
    """Holds a loss against a float64 transcription.

    - Values and gradients equal the transcription's and its central differences, those of `optax`, called the
      same way, and of `torch(torch.nn.functional, *tensors)` in float64.
    - A mask of the result's shape hides NaN and impossible labels, and leaves the rest as it is.
    - Values and gradients are finite at the `extremes` (arrays of the same shapes).
    - Mapped over a stack of all these, masked or not: one value. Given bfloat16: float32, of the rounded
      numbers (unless `half` is False, for a loss that runs a function in that dtype).

    The arrays `which` are differentiated: by default every float array.
    """
    arrays = [np.asarray(a) for a in arrays]
    arrays = [a.astype(np.float32) if is_float(a) else a for a in arrays]
    which = [i for i, a in enumerate(arrays) if is_float(a)] if which is None else list(which)
    exact = [a.astype(np.float64) if is_float(a) else a for a in arrays]
    expected = np.asarray(reference(*exact))
    cotangent = np.linspace(0.5, 1.5, expected.size).reshape(expected.shape)
    slopes = central_differences(reference, exact, which, cotangent)

    where = np.arange(expected.size).reshape(expected.shape) % 3 != 1
    scenes = [arrays, with_nan(arrays, where) if maskable else arrays]
    for extreme in extremes:
        scenes.append([np.asarray(a, b.dtype) for a, b in zip(extreme, arrays)])
        assert [a.shape for a in scenes[-1]] == [a.shape for a in arrays]
    scenes = [np.stack(scene) for scene in zip(*scenes)]
    masks = np.ones((len(scenes[0]), *where.shape), bool)
    masks[1] = where

    def scene(arrays, where):
        return value_and_gradients(loss, arrays, which, cotangent, **({"where": where} if maskable else {}))

    @compiled
    def everything(scenes, masks, arrays):
        seen = {"scenes": jax.vmap(scene)(scenes, masks), "plain": loss(*arrays)}
        if half:
            seen["half"] = loss(*(a.astype(jnp.bfloat16) if is_float(a) else a for a in arrays))
        if optax is not None:
            seen["optax"] = value_and_gradients(optax, arrays, which, cotangent)
        return seen

    seen = jax.tree.map(np.asarray, everything(scenes, masks, arrays))
    values, gradients = seen["scenes"]
    assert values.dtype == np.float32
    assert values[0].shape == expected.shape
    np.testing.assert_allclose(values[0], expected, rtol=rtol, atol=atol, err_msg="value")
    np.testing.assert_allclose(seen["plain"], expected, rtol=rtol, atol=atol, err_msg="without a mask")
    for i, got, wanted in zip(which, gradients, slopes):
        np.testing.assert_allclose(got[0], wanted, rtol=rtol, atol=10 * atol, err_msg=f"gradient {i}")
    libraries = {"optax": seen.get("optax")}
    if torch is not None:
        libraries["torch"] = torch_value_and_gradients(torch, exact, which, cotangent)
    for name, result in libraries.items():
        if result is not None:
            np.testing.assert_allclose(values[0], result[0], rtol=rtol, atol=atol, err_msg=name)
            for got, wanted in zip(gradients, result[1]):
                np.testing.assert_allclose(got[0], wanted, rtol=rtol, atol=10 * atol, err_msg=name)
    if maskable:
        np.testing.assert_allclose(
            values[1], np.where(where, values[0], 0), rtol=1e-5, atol=atol, err_msg="masked"
        )
        for i, got in zip(which, gradients):
            if arrays[i].shape[: where.ndim] == where.shape:
                kept = np.broadcast_to(expanded(where, arrays[i]), arrays[i].shape)
                wanted = np.where(kept, got[0], 0)
                np.testing.assert_allclose(
                    got[1], wanted, rtol=1e-5, atol=atol, err_msg=f"masked gradient {i}"
                )
                assert (got[1][~kept] == 0).all()
    for k in range(2, len(values)):
        assert np.isfinite(values[k]).all(), ("extreme", k - 2, values[k])
        assert all(np.isfinite(g[k]).all() for g in gradients), ("extreme", k - 2, [g[k] for g in gradients])
    rounded = [a.astype(jnp.bfloat16).astype(np.float64) if is_float(a) else a for a in arrays]
    if half:
        assert seen["half"].dtype == np.float32
        np.testing.assert_allclose(
            seen["half"], reference(*rounded), rtol=1e-4, atol=1e-4, err_msg="bfloat16"
        )


def check_eagerly(loss, arrays, reference, *, which=None, rtol=1e-5, atol=1e-6, **_):
    """The same numbers without a compiled program."""
    arrays = [np.asarray(a) for a in arrays]
    arrays = [jnp.asarray(a, jnp.float32) if is_float(a) else jnp.asarray(a) for a in arrays]
    exact = [np.float64(a) if is_float(a) else np.asarray(a) for a in arrays]
    np.testing.assert_allclose(loss(*arrays), reference(*exact), rtol=rtol, atol=atol)


def check_in_double(loss, arrays, reference, *, which=None, **_):
    """Values and gradients of float64 inputs, to ten and seven digits."""
    arrays = [np.asarray(a) for a in arrays]
    which = [i for i, a in enumerate(arrays) if is_float(a)] if which is None else which
    expected = np.asarray(reference(*arrays))
    cotangent = np.linspace(0.5, 1.5, expected.size).reshape(expected.shape)
    slopes = central_differences(reference, arrays, which, cotangent)
    with jax.enable_x64(True):
        value, gradients = compiled(lambda arrays: value_and_gradients(loss, arrays, which, cotangent))(
            arrays
        )
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)
    for got, wanted in zip(gradients, slopes):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


@pytest.fixture(params=["compiled", *(pytest.param(p, marks=pytest.mark.slow) for p in ("eager", "double"))])
def agrees(request):
    return {"compiled": check, "eager": check_eagerly, "double": check_in_double}[request.param]


@pytest.fixture(scope="session")
def value_of():
    """`(loss, *arrays, **options) -> value`, compiled: eager calls compile every operation by itself."""

    def run(loss, *arrays, **options):
        arrays = [np.float32(a) if np.asarray(a).dtype == np.float64 else np.asarray(a) for a in arrays]
        return np.asarray(compiled(lambda arrays: loss(*arrays, **options))(arrays))

    return run


@pytest.fixture(scope="session")
def gradients_of():
    """`(loss, *arrays) -> (value, gradient of its sum with respect to the first)`, compiled."""

    def run(loss, *arrays, **options):
        @compiled
        def both(arrays):
            value, pull = jax.vjp(lambda x: loss(x, *arrays[1:], **options), arrays[0])
            return value, pull(jnp.ones_like(value))[0]

        arrays = [np.float32(a) if np.asarray(a).dtype == np.float64 else a for a in arrays]
        return jax.tree.map(np.asarray, both(arrays))

    return run


@pytest.fixture(scope="session")
def equals_torch():
    """`(loss, library, *arrays, which=(0,))`: values and gradients of their sum are those of `library` in float64,
    a function of tensors, to five digits."""
    torch = pytest.importorskip("torch")

    def run(loss, library, *arrays, which=(0,), rtol=1e-5, atol=1e-6):
        arrays = [np.float32(a) if is_float(np.asarray(a)) else np.asarray(a) for a in arrays]
        tensors = [torch.tensor(np.float64(a) if is_float(a) else np.int64(a)) for a in arrays]
        for i in which:
            tensors[i].requires_grad_()
        expected = library(*tensors)
        expected.sum().backward()
        value, gradients = compiled(
            lambda arrays: value_and_gradients(loss, arrays, which, np.ones(tuple(expected.shape)))
        )(arrays)
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=rtol, atol=atol, err_msg="value")
        for i, gradient in zip(which, gradients):
            np.testing.assert_allclose(
                gradient, tensors[i].grad.numpy(), rtol=rtol, atol=10 * atol, err_msg=f"gradient {i}"
            )

    return run
