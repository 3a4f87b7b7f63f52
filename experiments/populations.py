"""Many nets in one program: the same net under many learning rates and from many seeds."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.nets import Repeated
from experiments.run import Run
from experiments.settings import create_state, estimator
from jaxdl import loops, train
from jaxdl.objectives import classification_metrics
from jaxdl.types import Array, Objective, Params, Step

Rows = Mapping[str, Any]
Optimizer = Callable[[Any], optax.GradientTransformation]
Look = Callable[[Params, Rows], Mapping[str, Array]]


class Member(NamedTuple):
    """One net of a population, and what it did so far; NaN where nothing yet."""

    rate: Array  # float32[], the learning rate
    order: Array  # key of the order of the rows
    state: train.TrainState
    losses: Array  # float32[updates], of the batch that each update saw
    looks: dict[str, Array]  # float32[passes], measured after each pass


@dataclasses.dataclass(frozen=True)
class Population:
    """What became of M nets, on the host; those that diverged hold NaN or infinity. A grid has [R, S] in place of [M].

    Attributes:
      params: of the nets at the end, leaves [M, ...].
      losses: of the batch that each update saw, [M, updates].
      looks: what was measured after each pass, [M, passes] each.
      updates_per_pass: updates between two looks.
      seconds: of training, compilation included.
    """

    params: Params
    losses: np.ndarray
    looks: dict[str, np.ndarray]
    updates_per_pass: int
    seconds: float

    def smooth_losses(self, window: int) -> np.ndarray:
        """Mean loss of the last so many batches, from that update on, [M, updates - window + 1]."""
        return np.lib.stride_tricks.sliding_window_view(self.losses, window, axis=-1).mean(axis=-1)


def classifier_look(model: Any, loss: Callable[[Array, Array], Array]) -> Look:
    """What `Populations` measures of a classifier after every pass: loss and accuracy."""
    measure = classification_metrics(model, loss)
    return lambda params, rows: {name: s / n for name, (s, n) in measure(params, {}, rows).items()}


class Populations:
    """Trains populations of one net on the same rows, each of M nets in one program.

    The learning rate is an array in the program and not a number, so one compilation serves all rates under an
    optimizer, and all populations of as many nets. Nets of one seed differ in nothing but their rate: they start alike
    and see the same batches. A net that diverges does no harm to the others. Several devices share the nets, where
    their number divides.
    """

    def __init__(
        self,
        run: Run,
        init: Callable[[Array], Mapping[str, Any]],
        objective: Objective,
        rows: Rows,
        *,
        num_passes: int,
        batch_size: int | None,
        look: Look = lambda params, rows: {},
        looked_at: Rows | None = None,
    ):
        """
        Args:
          run: its folder gets histories and checkpoints, its seed is the root of all others.
          init: from a key to a net's variables.
          objective: see `jaxdl.types`.
          rows: training arrays [N, ...].
          num_passes: passes over the rows, each in a fresh order; rows that make no whole batch wait for the next.
          batch_size: rows per update; None takes all of them at once.
          look: from parameters and `looked_at` to numbers, after every pass.
          looked_at: arrays for `look`; the training rows when None.
        """
        self.size = len(next(iter(rows.values())))
        self.batch_size = self.size if batch_size is None else batch_size
        if not 1 <= self.batch_size <= self.size:
            raise ValueError(f"batch_size must be from 1 to the {self.size} rows there are, got {batch_size}")
        self.run, self.num_passes, self.look = run, num_passes, look
        self.updates_per_pass = self.size // self.batch_size
        self.num_updates = num_passes * self.updates_per_pass
        self.rows = jax.device_put(dict(rows))
        self.looked_at = self.rows if looked_at is None else jax.device_put(dict(looked_at))
        self.init, self.grad_fn = jax.jit(jax.vmap(init)), estimator(objective, run.config)
        self.programs: dict[Any, tuple[Callable[..., Member], Step]] = {}

    def program(self, optimizer: Optimizer, devices: int) -> tuple[Callable[..., Member], Step]:
        """What makes the members of a population and what takes them through a pass, compiled."""
        config, updates = self.run.config, self.updates_per_pass

        def create(rate: Array, order: Array, state_key: Array, variables: Mapping[str, Any]) -> Member:
            state = create_state(state_key, variables, optimizer(rate), config)
            measured = jax.eval_shape(self.look, state.params, self.looked_at)
            nothing = {name: jnp.full(self.num_passes, jnp.nan) for name in measured}
            return Member(rate, order, state, jnp.full(self.num_updates, jnp.nan), nothing)

        def one_pass(member: Member, batch: tuple[Rows, Rows]) -> tuple[Member, dict[str, Array]]:
            rows, looked_at = batch
            update = train.make_update(
                self.grad_fn,
                optimizer(member.rate),
                skip_nonfinite=config.precision == "float16",
                report_norms=False,
            )
            done = member.state.step // updates
            order = jax.random.permutation(jax.random.fold_in(member.order, done), self.size)
            order = order[: updates * self.batch_size].reshape(updates, self.batch_size)
            state, metrics = loops.scan(
                lambda state, index: update(state, jax.tree.map(lambda x: x[index], rows)),
                member.state,
                order,
            )
            losses = jax.lax.dynamic_update_slice(member.losses, metrics["loss"], (done * updates,))
            looks = {
                name: member.looks[name].at[done].set(value)
                for name, value in self.look(state.params, looked_at).items()
            }
            loss = jnp.mean(metrics["loss"])
            return member._replace(state=state, losses=losses, looks=looks), {"loss": loss}

        def every_pass(members: Member, batch: tuple[Rows, Rows]) -> tuple[Member, dict[str, Array]]:
            members, metrics = train.population_step(one_pass)(members, batch)
            finite = jnp.isfinite(metrics["loss"])
            best = jnp.min(metrics["loss"], where=finite, initial=jnp.inf)
            return members, {"loss/best": best, "diverged": 1 - jnp.mean(finite)}

        step = train.shard_step(
            every_pass, train.data_mesh(devices), batch_spec=jax.P(), state_spec=jax.P("data")
        )
        return jax.jit(jax.vmap(create)), step

    def train(
        self,
        part: str,
        optimizer: Optimizer,
        rates: Sequence[float] | np.ndarray,
        seeds: Sequence[int] | np.ndarray,
    ) -> Population:
        """Trains a net for each pair of a learning rate and a seed.

        Args:
          part: the population's name in the run folder.
          optimizer: from a rate, float32[], to an Optax transformation.
          rates: M learning rates; or M rows of whatever array `optimizer` takes for one, such as a rate per update.
          seeds: M numbers, each of a start and an order of the rows.
        """
        devices = math.gcd(len(rates), self.run.config.devices or jax.device_count())
        if (optimizer, devices) not in self.programs:
            self.programs[optimizer, devices] = self.program(optimizer, devices)
        create, step = self.programs[optimizer, devices]
        root = jax.random.key(self.run.config.seed)
        keys = jax.vmap(lambda seed: jax.random.split(jax.random.fold_in(root, seed), 3))(jnp.asarray(seeds))
        members = create(jnp.asarray(rates, jnp.float32), keys[:, 1], keys[:, 2], self.init(keys[:, 0]))
        members, history = self.run.fit(
            step,
            members,
            Repeated((self.rows, self.looked_at)),
            num_steps=self.num_passes,
            part=part,
            log_every=max(1, self.num_passes // 10),
            progress=None,
        )
        params, losses, looks = jax.device_get((members.state.params, members.losses, members.looks))
        return Population(params, losses, looks, self.updates_per_pass, history.last("seconds"))

    def train_grid(
        self, part: str, optimizer: Optimizer, rates: Sequence[float] | np.ndarray, num_seeds: int
    ) -> Population:
        """Trains R rates from S seeds each, which are 0, 1, ...; what it returns has [R, S] in place of [M]."""
        seeds = np.tile(np.arange(num_seeds), len(rates))
        nets = self.train(part, optimizer, np.repeat(np.asarray(rates), num_seeds, axis=0), seeds)
        grid = lambda x: x.reshape(len(rates), num_seeds, *x.shape[1:])
        return dataclasses.replace(
            nets,
            params=jax.tree.map(grid, nets.params),
            losses=grid(nets.losses),
            looks=jax.tree.map(grid, nets.looks),
        )
