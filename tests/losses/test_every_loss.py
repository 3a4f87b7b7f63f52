"""One table of all losses: what each must do whatever its equation, which the other files hold against oracles.

- What `where` hides, NaN and impossible labels, has no part in values or gradients; what it keeps is as if sliced out;
  an empty mask gives 0.
- Values and gradients are finite at logits of +-1e4, zeros, probabilities of 0 and 1.
- An input that cannot be makes its own loss NaN, and a gradient, and no other.
- bfloat16 changes nothing but the rounding of the inputs; results are float32, gradients bfloat16.
- Wrong dtypes, shapes, ranks and masks are errors before anything runs.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses

RNG = np.random.default_rng(14)
B, D, K = 4, 3, 3


class Argument(NamedTuple):
    """Values, three extremes of the same shape, and numbers that cannot be."""

    values: np.ndarray
    extremes: Any = None  # three values or arrays; None for the values themselves
    impossible: tuple[float, ...] = ()
    kind: str = "number"

    def extreme(self, i):
        if self.extremes is None:
            return self.values
        return np.broadcast_to(np.asarray(self.extremes[i], self.values.dtype), self.values.shape)


def alternating(shape):
    return np.where(np.arange(np.prod(shape)).reshape(shape) % 2 == 0, 1.0, -1.0)


def real(*shape, sign=1, impossible=()):
    far = 1e4 * sign * alternating(shape)
    return Argument(RNG.normal(size=shape).astype(np.float32), (far, -far, 0.0), impossible)


def between(low, high, *shape, extremes, impossible=(), kind="number"):
    return Argument(RNG.uniform(low, high, shape).astype(np.float32), extremes, impossible, kind)


def probability(*shape):
    ends = (alternating(shape) + 1) / 2
    return between(0.05, 0.95, *shape, extremes=(ends, 1 - ends, 0.0), impossible=(-0.1, 1.1))


def distribution(*shape):
    ends = np.zeros((2, *shape))
    ends[0, ..., 0] = ends[1, ..., -1] = 1
    rows = RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)
    return Argument(rows, (*ends, 1 / shape[-1]), (-0.1, 1.1), "distribution")


def log_distribution(*shape):
    values, extremes, _, _ = distribution(*shape)
    with np.errstate(divide="ignore"):
        return Argument(np.log(values), tuple(np.log(x) for x in extremes))


def label(*shape, classes=K, impossible=None):
    chosen = RNG.integers(0, classes, shape).astype(np.int32)
    return Argument(chosen, None, (-1, classes) if impossible is None else impossible, "label")


def one_of(*choices, shape, impossible):
    return Argument(RNG.choice(choices, shape).astype(np.int32), None, impossible)


def box(*shape, impossible=()):
    corner, size = RNG.uniform(0, 4, (*shape, 2)), RNG.uniform(0.5, 3, (*shape, 2))
    values = np.concatenate([corner, corner + size], -1).astype(np.float32)
    apart = values + np.float32(1e4 * alternating(shape)[..., None])
    return Argument(values, (0.0, apart, np.broadcast_to(np.float32([1, 1, 2, 2]), values.shape)), impossible)


def log_variance(*shape):
    return Argument(RNG.normal(size=shape).astype(np.float32), (0.0, 1e4, -80.0))


class Row(NamedTuple):
    """A loss with its arguments; `where` is of the result's shape."""

    loss: Callable[..., Any]
    arguments: tuple[Argument, ...]
    maskable: bool = True  # a mask takes examples out, and nothing else changes
    rounds_only: bool = (
        True  # bfloat16 only rounds the inputs: not where the loss runs a function in that dtype
    )
    loose: tuple[int, ...] = ()  # arguments whose first axis is their own
    patches: tuple[int, ...] = ()  # arguments that may have further axes
    held: tuple[int, ...] = ()  # targets whose derivative is infinite at 0


def row(loss, *arguments, **options):
    return Row(loss, arguments, **options)


KERNEL = RNG.normal(size=(6, 5)).astype(np.float32)


def critic(x):
    return jnp.tanh(x.reshape(len(x), -1) @ KERNEL.astype(x.dtype)).sum(-1)


def encoder(x):
    return jnp.tanh(x.reshape(len(x), -1) @ KERNEL.astype(x.dtype))


def features(x):
    return {"first": x, "second": jnp.tanh(x)}


counts = between(0, 5, B, D, extremes=(0.0, 1e4, 0.0), impossible=(-1,))
positive = between(0.5, 3, B, D, extremes=(1e4, 1.0, 1e4), impossible=(0,))
above = between(0.5, 3, B, D, extremes=(1e4, 0.0, -0.5), impossible=(-1, -2))
also_above = between(0.5, 3, B, D, extremes=(0.0, 1e4, -0.5), impossible=(-1,))
padding = Argument((np.arange(4)[None] >= np.array([[4], [3], [4], [4]])).astype(np.float32))
word_padding = Argument((np.arange(2)[None] >= np.array([[2], [1], [1], [0]])).astype(np.float32))
critics = (real(B), real(B, sign=-1))
step_of_agent = (real(B), between(0, 1, B, extremes=(1.0, 0.0, 0.0)), real(B, sign=-1))
pictures = (real(B, 2, D), real(B, 2, D, sign=-1))
images = (real(B, 4, 5, 2), real(B, 4, 5, 2, sign=-1))
maps = (real(B, 3, 2, K), distribution(B, 3, 2, K))
boxes_of_images = (real(B, 5, K), real(B, 5, 4), label(B, 5), real(B, 5, 4, sign=-1))

ROWS = {
    # Real values.
    "squared_error": row(losses.squared_error, real(B, D), real(B, D, sign=-1)),
    "half_squared_error": row(losses.half_squared_error, real(B, D), real(B, D, sign=-1)),
    "absolute_error": row(losses.absolute_error, real(B, D), real(B, D, sign=-1)),
    "huber": row(losses.huber, real(B, D), real(B, D, sign=-1)),
    "log_cosh": row(losses.log_cosh, real(B, D), real(B, D, sign=-1)),
    "quantile_loss": row(
        functools.partial(losses.quantile_loss, quantile=0.9), real(B, D), real(B, D, sign=-1)
    ),
    "mean_squared_logarithmic_error": row(losses.mean_squared_logarithmic_error, above, also_above),
    "mean_absolute_percentage_error": row(losses.mean_absolute_percentage_error, real(B, D), positive),
    "poisson_nll": row(losses.poisson_nll, between(-1, 1, B, D, extremes=(-1e4, 80.0, 0.0)), counts),
    "gaussian_nll": row(losses.gaussian_nll, real(B, D), real(B, D, sign=-1), log_variance(B, D)),
    "cosine_distance": row(losses.cosine_distance, real(B, D), real(B, D, sign=-1)),
    "charbonnier": row(losses.charbonnier, real(B, D), real(B, D, sign=-1)),
    # Classes.
    "sigmoid_binary_cross_entropy": row(losses.sigmoid_binary_cross_entropy, real(B, D), probability(B, D)),
    "binary_cross_entropy": row(losses.binary_cross_entropy, probability(B, D), probability(B, D)),
    "softmax_cross_entropy": row(losses.softmax_cross_entropy, real(B, K), distribution(B, K)),
    "softmax_cross_entropy_with_integer_labels": row(
        losses.softmax_cross_entropy_with_integer_labels, real(B, K), label(B)
    ),
    "categorical_cross_entropy": row(
        losses.categorical_cross_entropy, distribution(B, K), distribution(B, K)
    ),
    "focal_loss": row(losses.focal_loss, real(B, D), probability(B, D)),
    "hinge": row(losses.hinge, real(B, D), one_of(-1, 1, shape=(B, D), impossible=(0, 2))),
    "squared_hinge": row(losses.squared_hinge, real(B, D), one_of(-1, 1, shape=(B, D), impossible=(0, 2))),
    "perceptron_loss": row(
        losses.perceptron_loss, real(B, D), one_of(-1, 1, shape=(B, D), impossible=(0, -2))
    ),
    "multiclass_hinge": row(losses.multiclass_hinge, real(B, K), label(B)),
    "kl_divergence": row(losses.kl_divergence, log_distribution(B, K), distribution(B, K)),
    "js_divergence": row(losses.js_divergence, log_distribution(B, K), distribution(B, K)),
    "distillation": row(losses.distillation, real(B, K), real(B, K, sign=-1)),
    # Similarity, domains, capsules.
    "contrastive": row(
        losses.contrastive,
        between(0.1, 2, B, extremes=(0.0, 1e4, 0.0), impossible=(-1,)),
        one_of(0, 1, shape=(B,), impossible=(2, -1)),
    ),
    "triplet": row(losses.triplet, real(B, D), real(B, D, sign=-1), real(B, D)),
    "margin_ranking": row(
        losses.margin_ranking, real(B), real(B, sign=-1), one_of(-1, 1, shape=(B,), impossible=(0, 2))
    ),
    "nt_xent": row(losses.nt_xent, real(B, D), label(B, impossible=()), maskable=False),
    "info_nce": row(losses.info_nce, real(B, D), real(B, D, sign=-1), maskable=False, loose=(0,)),
    "domain_confusion": row(losses.domain_confusion, real(B, K)),
    "maximum_mean_discrepancy": row(  # of two sets, so it takes no mask
        losses.maximum_mean_discrepancy, real(B, D), real(B, D), maskable=False, loose=(0, 1)
    ),
    "capsule_margin": row(losses.capsule_margin, between(0, 1, B, K, extremes=(0.0, 1.0, 0.5)), label(B)),
    # Adversaries and conditions.
    "minimax_discriminator": row(losses.minimax_discriminator, *critics),
    "minimax_generator": row(losses.minimax_generator, real(B)),
    "non_saturating_generator": row(losses.non_saturating_generator, real(B)),
    "least_squares_discriminator": row(losses.least_squares_discriminator, *critics),
    "least_squares_generator": row(losses.least_squares_generator, real(B)),
    "wasserstein_critic": row(losses.wasserstein_critic, *critics),
    "wasserstein_generator": row(losses.wasserstein_generator, real(B)),
    "hinge_discriminator": row(losses.hinge_discriminator, *critics),
    "hinge_generator": row(losses.hinge_generator, real(B)),
    "cycle_consistency": row(losses.cycle_consistency, *pictures),
    "identity_mapping": row(losses.identity_mapping, *pictures),
    "cycle_gan_generator": row(
        lambda a, b, rx, ry, x, y, where=None: losses.cycle_gan_generator(
            (a, b), (rx, ry), (x, y), where=where
        ),
        *(real(B), real(B), *pictures, *pictures),
        patches=(0, 1),
    ),
    "adversarial_reconstruction": row(losses.adversarial_reconstruction, *pictures, real(B), patches=(2,)),
    "auxiliary_classifier": row(losses.auxiliary_classifier, real(B), real(B, K), probability(B), label(B)),
    "mutual_information": row(
        losses.mutual_information, real(B, K), label(B), real(B, D), real(B, D, sign=-1), log_variance(B, D)
    ),
    "gradient_penalty": row(
        lambda real, fake, where=None: losses.gradient_penalty(critic, real, fake, jax.random.key(0), where),
        *pictures,
        maskable=False,  # the places between are drawn for the whole batch
        rounds_only=False,
    ),
    "r1_penalty": row(functools.partial(losses.r1_penalty, critic), pictures[0], rounds_only=False),
    "contractive_penalty": row(
        functools.partial(losses.contractive_penalty, encoder), pictures[0], rounds_only=False
    ),
    "sigmoid_contractive_penalty": row(
        losses.sigmoid_contractive_penalty,
        between(0, 1, B, 5, extremes=(0.0, 1.0, 0.5)),
        real(D, 5),
        loose=(0, 1),
    ),
    "relu_contractive_penalty": row(losses.relu_contractive_penalty, real(B, 5), real(D, 5), loose=(0, 1)),
    # Images.
    "pixelwise_cross_entropy": row(losses.pixelwise_cross_entropy, maps[0], label(B, 3, 2)),
    "dice": row(losses.dice, *maps),
    "jaccard": row(losses.jaccard, *maps),
    "tversky": row(losses.tversky, *maps),
    "total_variation": row(losses.total_variation, images[0]),
    "perceptual": row(functools.partial(losses.perceptual, features), *images, rounds_only=False),
    "feature_matching": row(losses.feature_matching, *images),
    "gram_style": row(losses.gram_style, *images),
    "ssim_loss": row(functools.partial(losses.ssim_loss, data_range=1.0, window_size=3), *images),
    # Boxes.
    "box_smooth_l1": row(losses.box_smooth_l1, real(B, 2, 4), real(B, 2, 4, sign=-1)),
    "iou_loss": row(losses.iou_loss, box(B, 2), box(B, 2, impossible=(1e6,))),
    "giou_loss": row(losses.giou_loss, box(B, 2), box(B, 2, impossible=(1e6,))),
    "detection_loss": row(losses.detection_loss, *boxes_of_images),
    "ssd_loss": row(losses.ssd_loss, *boxes_of_images),
    "mask_loss": row(losses.mask_loss, real(B, 3, 2, K), probability(B, 3, 2), label(B)),
    "yolo_loss": row(
        losses.yolo_loss,
        *(real(B, 2, 2, 2, 4), real(B, 2, 2, 2), real(B, 2, 2, K)),
        between(0.2, 0.9, B, 2, 2, 4, extremes=(0.0, 1.0, 0.0)),
        label(B, 2, 2, impossible=(-2, K)),
        held=(3,),
    ),
    # Sequences.
    "sequence_cross_entropy": row(losses.sequence_cross_entropy, real(B, 4, K), label(B, 4)),
    "sequence_squared_error": row(losses.sequence_squared_error, real(B, 4, D), real(B, 4, D, sign=-1)),
    "mixture_density_nll": row(
        losses.mixture_density_nll,
        *(real(B, 2), real(B, 2, D)),
        Argument(0.3 * RNG.normal(size=(B, 2, D)).astype(np.float32), (0.0, 0.0, -40.0)),
        real(B, D, sign=-1),
    ),
    "ctc": row(
        losses.ctc,
        *(
            real(B, 4, K),
            padding,
            Argument(np.array([[1, 2], [2, 9], [1, 9], [9, 9]], np.int32), None, (3, 0), "label"),
        ),
        word_padding,
    ),
    # Codes.
    "gaussian_kl": row(
        losses.gaussian_kl,
        real(B, D),
        Argument(RNG.normal(size=(B, D)).astype(np.float32), (0.0, -1e4, 80.0)),
    ),
    "bernoulli_kl": row(losses.bernoulli_kl, probability(B, D), probability(B, D), held=(1,)),
    "reconstruction": row(losses.reconstruction, *pictures),
    "elbo": row(
        losses.elbo,
        *(real(B), real(B, D)),
        Argument(RNG.normal(size=(B, D)).astype(np.float32), (0.0, -1e4, 80.0)),
    ),
    "vector_quantization": row(losses.vector_quantization, real(B, D), real(B, D, sign=-1)),
    "free_energy_difference": row(losses.free_energy_difference, *critics),
    # Values and policies.
    "td_error": row(losses.td_error, real(B), *step_of_agent),
    "dqn_loss": row(losses.dqn_loss, real(B, K), label(B), *step_of_agent[:2], real(B, K, sign=-1)),
    "double_dqn_loss": row(
        losses.double_dqn_loss, real(B, K), label(B), *step_of_agent[:2], real(B, K, sign=-1), real(B, K)
    ),
    "policy_gradient": row(losses.policy_gradient, real(B, K), label(B), real(B)),
    "entropy_bonus": row(losses.entropy_bonus, real(B, K)),
    "actor_critic_loss": row(losses.actor_critic_loss, real(B, K), label(B), real(B), *step_of_agent),
    "ppo_clip": row(
        losses.ppo_clip,
        between(-3, 0, B, extremes=(0.0, -1e4, -50.0)),
        between(-3, 0, B, extremes=(0.0, -1e4, 0.0)),
        real(B),
    ),
    "ddpg_critic": row(losses.ddpg_critic, real(B), *step_of_agent),
    "ddpg_actor": row(losses.ddpg_actor, real(B)),
}
NO_LOSS = {"checked", "choose_loss"}
# Compiled quickly rather than well: each program runs once.
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def test_every_public_loss_has_a_row():
    assert set(ROWS) == set(losses.__all__) - NO_LOSS


def is_float(x):
    return np.issubdtype(x.dtype, np.floating)


def with_nonsense(arrays, where):
    """The arrays over the mask's axes with NaN and impossible labels where it is False."""
    hidden = []
    for x in arrays:
        if x.shape[: where.ndim] == where.shape:
            kept = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
            x = np.where(kept, x, np.nan if is_float(x) else -100).astype(x.dtype)
        hidden.append(x)
    return hidden


def with_impossible(arguments, arrays):
    for i, argument in enumerate(arguments):
        for number in argument.impossible:
            bad = [x.copy() for x in arrays]
            bad[i][(0,) * bad[i].ndim] = number
            yield i, bad


@pytest.mark.parametrize("name", ROWS)
def test_masks_extremes_impossible_inputs_and_half_precision(name):
    loss, arguments, maskable, rounds_only, _, _, held = ROWS[name]
    arrays = [argument.values for argument in arguments]
    floats = [i for i, x in enumerate(arrays) if is_float(x) and i not in held]
    shape = jax.eval_shape(loss, *arrays).shape
    takes_mask = name != "maximum_mean_discrepancy"
    where = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 3 != 1
    over_mask = [x.shape[: where.ndim] == where.shape for x in arrays]
    halves = [jnp.asarray(x, jnp.bfloat16) if is_float(x) else x for x in arrays]
    impossible = list(with_impossible(arguments, arrays))
    scenes = {
        "plain": arrays,
        "rounded": [np.asarray(x, np.float32) if is_float(x) else x for x in halves],
        "masked": with_nonsense(arrays, where) if takes_mask else arrays,
        "empty": with_nonsense(arrays, where & False) if takes_mask else arrays,
        **{f"extreme {i}": [argument.extreme(i) for argument in arguments] for i in range(3)},
        **{f"impossible {i}": bad for i, (_, bad) in enumerate(impossible)},
    }
    masks = np.ones((len(scenes), *shape), bool)
    masks[list(scenes).index("masked")], masks[list(scenes).index("empty")] = where, False

    def derived(arrays, **mask):
        def of(*chosen):
            given = list(arrays)
            for i, x in zip(floats, chosen):
                given[i] = x
            return loss(*given, **mask)

        value, pull = jax.vjp(of, *(arrays[i] for i in floats))
        return value, pull(jnp.ones_like(value))

    @functools.partial(jax.jit, compiler_options=FAST)
    def program(scenes, masks, sliced, halves):
        scene = (lambda x, m: derived(x, where=m)) if takes_mask else (lambda x, m: derived(x))
        return jax.vmap(scene)(scenes, masks), derived(halves), loss(*sliced) if maskable else None

    sliced = [x[where] if over else x for x, over in zip(arrays, over_mask)]
    *seen, of_slice = program([np.stack(x) for x in zip(*scenes.values())], masks, sliced, halves)
    half_value, half_gradients = seen[1]
    assert half_value.dtype == jnp.float32
    assert all(g.dtype == jnp.bfloat16 for g in half_gradients)
    stacked, half_value, half_gradients = jax.tree.map(
        lambda x: np.asarray(x, np.float32), (seen[0], half_value, half_gradients)
    )
    seen = {name: jax.tree.map(lambda x, i=i: x[i], stacked) for i, name in enumerate(scenes)}

    value, gradients = seen["plain"]
    assert np.isfinite(value).all()
    assert value.any()
    if takes_mask:
        masked, masked_gradients = seen["masked"]
        assert (masked[~where] == 0).all()
        assert not any(x.any() for x in jax.tree.leaves(seen["empty"]))
        for i, g, whole in zip(floats, masked_gradients, gradients):
            assert np.isfinite(g).all()
            if over_mask[i]:
                assert (g[~where] == 0).all()
            if over_mask[i] and maskable:
                np.testing.assert_allclose(g[where], whole[where], rtol=1e-5, atol=1e-6)
        if maskable:
            np.testing.assert_allclose(masked[where], value[where], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(np.ravel(of_slice), value[where], rtol=1e-5, atol=1e-6)
    for i in range(3):
        extreme, slopes = seen[f"extreme {i}"]
        assert np.isfinite(extreme).all(), ("extreme", i, extreme)
        assert all(np.isfinite(g).all() for g in slopes), ("gradient at extreme", i, slopes)
    for i, (place, bad) in enumerate(impossible):
        poisoned, slopes = seen[f"impossible {i}"]
        assert np.isnan(poisoned.ravel()[0]), ("impossible input", place, bad[place].ravel()[0])
        assert not np.isnan(poisoned.ravel()[1:]).any()
        nan = [np.isnan(g.reshape(B, -1)).any(1) for g in slopes]
        assert any(rows[0] for rows in nan)
        assert not any(rows[1:].any() for rows in nan)
    value, gradients = seen["rounded"]
    loose = 0 if rounds_only else 0.05
    np.testing.assert_allclose(half_value, value, rtol=1e-5 + loose, atol=1e-6 + loose)
    for g, expected in zip(half_gradients, gradients):
        atol = 1e-6 + loose * np.abs(expected).max()
        np.testing.assert_allclose(g, expected, rtol=2**-7, atol=atol)


@pytest.mark.parametrize("name", ROWS)
def test_runs_on_a_share_of_the_batch_inside_shard_map(name):
    """Traced with its gradient, which is where loops over constants would fail; nothing is compiled."""
    loss, arguments, *_, loose, _, held = ROWS[name]
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("device",))
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("device")
    specs = [whole if i in loose and i else split for i in range(len(arguments))]
    arrays = [argument.values for argument in arguments]
    floats = [i for i, x in enumerate(arrays) if is_float(x) and i not in held]

    def local(*arrays):
        gradients = jax.grad(lambda *x: loss(*x).sum(), argnums=floats)(*arrays)
        return [jax.lax.pmean(g.sum(), "device") for g in gradients]

    shapes = jax.eval_shape(jax.shard_map(local, mesh=mesh, in_specs=tuple(specs), out_specs=whole), *arrays)
    assert [x.dtype for x in shapes] == [jnp.float32] * len(floats)


def refused(loss, arrays, **mask):
    """The error that a call ends in, or None: nothing is compiled and nothing runs."""
    try:
        jax.eval_shape(lambda *x: loss(*x, **mask), *arrays)
    except (TypeError, ValueError) as error:
        return error


@pytest.mark.parametrize("name", ROWS)
def test_wrong_dtypes_shapes_and_masks_are_errors(name):
    loss, arguments, _, _, loose, patches, _ = ROWS[name]
    arrays = [argument.values for argument in arguments]

    def changed(i, x):
        return refused(loss, [*arrays[:i], x, *arrays[i + 1 :]])

    assert refused(loss, arrays) is None
    assert isinstance(changed(0, np.ones(arrays[0].shape, np.int32)), TypeError)
    for i, (argument, x) in enumerate(zip(arguments, arrays)):
        if len(arrays) > 1:
            if i not in patches:
                assert isinstance(changed(i, x[..., None]), ValueError), (i, "another axis")
            if i not in loose:
                assert isinstance(changed(i, x[:-1]), ValueError), (i, "fewer examples")
        if argument.kind == "label":
            assert isinstance(changed(i, x.astype(np.float32)), TypeError), (i, "real labels")
            one_hot = np.eye(K, dtype=np.int32)[np.clip(x, 0, K - 1)]
            assert isinstance(changed(i, one_hot), ValueError), (i, "one-hot integers")
            assert isinstance(changed(i, one_hot.astype(np.float32)), (TypeError, ValueError)), (
                i,
                "one-hot numbers",
            )
        if argument.kind == "distribution" and i:
            assert isinstance(changed(i, np.argmax(x, axis=-1)), ValueError), (i, "classes for distributions")
    if name != "maximum_mean_discrepancy":
        shape = jax.eval_shape(loss, *arrays).shape
        assert isinstance(refused(loss, arrays, where=np.ones((7, *shape), bool)), ValueError)
        assert isinstance(refused(loss, arrays, where=np.ones(shape, np.float32)), TypeError)
