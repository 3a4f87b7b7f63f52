"""Alternating updates of two sides, each one network or several."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl import checks, loops
from jaxdl.train.state import TrainState
from jaxdl.train.stepping import average_metrics
from jaxdl.types import Metrics, Objective, Step

# (own state, the other side's state, batch) -> (own state, metrics)
Update = Callable[..., tuple[Any, Metrics]]


@struct.dataclass
class AdversarialState:
    """Two sides that learn from each other.

    Attributes:
      generator: a `TrainState` (or a state that nests one, such as `TargetState` for a generator with an
        average), or a dict of them.
      discriminator: the same; a critic is one too.
    """

    generator: Any
    discriminator: Any


def _one_update(updates: Update | Mapping[str, Update]) -> Update:
    """A side's updates as one; all see the other side as it was."""
    if not isinstance(updates, Mapping):
        return updates

    def update(states, opponent, batch):
        if not isinstance(states, Mapping) or set(states) != set(updates):
            names = sorted(states) if isinstance(states, Mapping) else type(states).__name__
            raise ValueError(
                f"states must be a dict with the names of the updates, {sorted(updates)}, got {names}"
            )
        done = {name: updates[name](states[name], opponent, batch) for name in updates}
        metrics = {
            f"{name}/{metric}": value for name, (_, own) in done.items() for metric, value in own.items()
        }
        return {name: state for name, (state, _) in done.items()}, metrics

    return update


def make_adversarial_step(
    update_discriminator: Update | Mapping[str, Update],
    update_generator: Update | Mapping[str, Update],
    *,
    discriminator_steps: int = 1,
    generator_steps: int = 1,
) -> Step:
    """Returns a step: k updates of the discriminator, then m of the generator against the result.

    An update is `make_update(backprop(objective), tx)` with an objective that takes the other side's state
    before the batch: `(params, model_state, opponent, batch, key)`. The opponent is an argument that is not
    differentiated, so it does not move. Large k and m alternate by epochs.

    Several networks on one side: a dict of states, and a dict of updates under the same names, each with its
    own optimizer; each gets its own state and the whole other side. Networks of one side that need each other
    in one loss (a cycle) share one `TrainState`, whose `params` is the dict.

    Args:
      update_discriminator: `(state, generator, batch) -> (state, metrics)`, or a dict of such.
      update_generator: `(state, discriminator, batch) -> (state, metrics)`, or a dict of such.
      discriminator_steps: k, at least 1.
      generator_steps: m, at least 1.

    Returns:
      A step on `AdversarialState`. Batch leaves are [B, ...] when k = m = 1, otherwise [max(k, m), B, ...]:
      the discriminator takes the first k, the generator the last m. Metrics are means over a side's updates,
      but of `learning_rate` the last, prefixed `discriminator/` and `generator/` (and the network's name,
      where there are several).

    Raises:
      ValueError: k or m is below 1; a leaf has another number of batches; a dict's names do not match (at
        trace time).

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, algorithm 1 (m = 1), arXiv:1406.2661.
    """
    checks.at_least(1, discriminator_steps=discriminator_steps, generator_steps=generator_steps)
    update_discriminator, update_generator = _one_update(update_discriminator), _one_update(update_generator)
    num_batches = max(discriminator_steps, generator_steps)

    def repeated(update, state, opponent, batches):
        if num_batches == 1:
            return update(state, opponent, batches)
        state, metrics = loops.scan(lambda state, batch: update(state, opponent, batch), state, batches)
        return state, average_metrics(metrics)

    def step(state: AdversarialState, batch: Any) -> tuple[AdversarialState, Metrics]:
        first = last = batch
        if num_batches > 1:
            for leaf in jax.tree.leaves(batch):
                if leaf.ndim == 0 or leaf.shape[0] != num_batches:
                    raise ValueError(
                        f"batch must have {num_batches} batches on the leading axis, got shape {leaf.shape}"
                    )
            first = jax.tree.map(lambda x: x[:discriminator_steps], batch)
            last = jax.tree.map(lambda x: x[num_batches - generator_steps :], batch)
        discriminator, d_metrics = repeated(update_discriminator, state.discriminator, state.generator, first)
        generator, g_metrics = repeated(update_generator, state.generator, discriminator, last)
        metrics = {f"discriminator/{name}": value for name, value in d_metrics.items()}
        metrics |= {f"generator/{name}": value for name, value in g_metrics.items()}
        return AdversarialState(generator, discriminator), metrics

    return step


def unrolled(generator_objective: Objective, update_discriminator: Update, num_steps: int) -> Objective:
    """The generator's objective against the discriminator as it will be after `num_steps` more updates.

    f_K(theta_G) = f(theta_G, theta_D^K),  theta_D^{k+1} = theta_D^k + update(theta_D^k, theta_G)

    The gradient goes through the updates, so the generator learns how the discriminator will answer. The
    discriminator of the state does not move by it.

    Args:
      generator_objective: an objective with the arguments `(params, model_state, discriminator, batch, key)`,
        the discriminator being a `TrainState`.
      update_discriminator: `(state, generator, batch) -> (state, metrics)`, differentiable. It sees the
        generator as a `TrainState` at step 0 with an empty `opt_state`. Adaptive optimizers divide by the
        root of an average, which has no derivative at 0: give them `eps_root` above 0.
      num_steps: K, at least 0; all look-ahead updates see the batch of the objective. 0 looks at the
        discriminator as it is.

    Returns:
      An objective with the arguments of `generator_objective`.

    Source: Metz et al., "Unrolled Generative Adversarial Networks", 2017, section 2.2, arXiv:1611.02163.
    """
    checks.at_least(0, num_steps=num_steps)

    def objective(params, model_state, discriminator, batch, key):
        key, generator_key = jax.random.split(key)
        generator = TrainState(jnp.zeros((), jnp.int32), params, model_state, (), generator_key)
        discriminator, _ = loops.scan(
            lambda ahead, _: (update_discriminator(ahead, generator, batch)[0], None),
            discriminator,
            length=num_steps,
            differentiated=True,
        )
        return generator_objective(params, model_state, discriminator, batch, key)

    return objective
