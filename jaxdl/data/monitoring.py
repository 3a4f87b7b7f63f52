"""A controlled process that something goes wrong with, made from a key: what fault detectors are measured on.

Pure, jittable with static sizes, and vmappable over the key. N: records, T: steps.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array

FAULTS = ("none", "sensor bias", "sensor drift", "stuck sensor", "fouling", "stuck valve")
CHANNELS = ("setpoint", "temperature_a", "temperature_b", "command", "flow", "heat")
TIME_CONSTANT = 8.0
_GAIN, _INTEGRAL = 1.5, 0.2  # of the controller, per step


def process_faults(
    key: Array, size: int, *, length: int = 120, noise: float = 0.01, missing_rate: float = 0.0
) -> dict[str, Array]:
    """Records of a heated tank under control, each with one of five faults from some step on, or with none.

    tank: s_{t+1} = s_t + (k v_t - s_t) / 8 + noise w_t / 4, k = 1;  controller: c_t = 1.5 e_t + 0.2 (e_1 + ... +
    e_t), e = r - a, held to [0, 1.2];  sensors: a and b = s + noise, flow = v + noise, heat = v;  valve: v = c

    sensor bias: a is off by 0.08 to 0.16. Sensor drift: a runs away by 0.002 to 0.004 a step. Stuck sensor: a stays
    where it was. Fouling: k falls to 0.5 to 0.7. Stuck valve: v stays where it was. The control loop hides part of
    each; three parity relations show all that there is to see, each pure noise unless its fault is there:

    a - b: the three faults of the sensor, and their form which;  flow - c: the valve;
    b_{t+1} - b_t - (flow_t - b_t) / 8: fouling

    At the default noise the class follows from them for more than 97 % of the records.

    Args:
      key: PRNG key.
      size: records N, at least 1.
      length: T, at least 40.
      noise: standard deviation of the sensors' noise, at least 0.
      missing_rate: share of `readings` that is lost, in [0, 1).

    Returns:
      `x` float32 [N, T, 6], the channels `CHANNELS` at whole steps, in the range of about 0 to 1.2; `y` int32 [N],
      index into `FAULTS`; `onset` int32 [N], the first faulty step, between T / 4 and T / 2, T for none; `fault`
      int32 [N, T], the class at each step.
      The same as it comes from the plant: `readings` float32 [N, 6, T], NaN where lost, at `times` float32 [N, 6, T],
      each channel by its own clock, up to a step late; between two steps values go in a straight line; heat is a
      counter that only grows, from a random start. `synchronize`, `impute` and `gaugify` lead back to `x`.
    """
    checks.at_least(1, size=size)
    checks.at_least(40, length=length)
    checks.non_negative(noise=noise)
    checks.decay(missing_rate=missing_rate)
    record_key, level_key, noise_key, lost_key = jax.random.split(key, 4)
    numbers = draws.uniform(record_key, (size, 5 + len(CHANNELS)))
    y = draws.below(len(FAULTS), numbers[:, 0])
    onset = length // 4 + draws.below(length // 2 - length // 4, numbers[:, 1])
    onset = jnp.where(y == 0, length, onset)
    sign, severity = jnp.where(numbers[:, 2] < 0.5, -1.0, 1.0), numbers[:, 3]
    bias, slope, gain_left = (
        sign * (0.08 + 0.08 * severity),
        sign * (0.002 + 0.002 * severity),
        0.5 + 0.2 * severity,
    )

    changes, levels = draws.uniform(level_key, (2, length, size))
    changes, levels = (changes < 1 / 40).at[0].set(True), 0.35 + 0.3 * levels
    sensed = noise * draws.normal(noise_key, (length, 4, size))

    def step(carry, inputs):
        state, total, setpoint, last_a, last_valve = carry
        t, change, level, n = inputs
        setpoint = jnp.where(change, level, setpoint)
        faulty = t >= onset
        a = state + n[0]
        a = a + jnp.where(faulty & (y == 1), bias, 0) + jnp.where(faulty & (y == 2), slope * (t - onset), 0)
        a = jnp.where(faulty & (y == 3), last_a, a)
        total = total + _INTEGRAL * (setpoint - a)
        command = jnp.clip(_GAIN * (setpoint - a) + total, 0, 1.2)
        valve = jnp.where(faulty & (y == 5), last_valve, command)
        row = jnp.stack([setpoint, a, state + n[1], command, valve + n[2], valve], axis=-1)
        gain = jnp.where(faulty & (y == 4), gain_left, 1.0)
        state = state + (gain * valve - state) / TIME_CONSTANT + n[3] / 4
        return (state, total, setpoint, a, valve), row

    level = levels[0]  # the record begins at rest, the controller's sum at what keeps it there
    inputs = (jnp.arange(length), changes, levels, sensed)
    _, x = jax.lax.scan(step, (level, level, level, level, level), inputs)
    x = jnp.swapaxes(x, 0, 1)

    counter = 100 * numbers[:, 4:5] + jnp.cumsum(x[..., 5], axis=1)
    channels = jnp.swapaxes(x.at[..., 5].set(counter), 1, 2)
    late = numbers[:, 5:, None]
    after = jnp.concatenate([channels[..., 1:], 2 * channels[..., -1:] - channels[..., -2:-1]], axis=-1)
    lost = draws.uniform(lost_key, channels.shape) < missing_rate
    return {
        "x": x,
        "y": y,
        "onset": onset,
        "fault": jnp.where(jnp.arange(length)[None] >= onset[:, None], y[:, None], 0),
        "times": jnp.arange(length)[None, None] + late,
        "readings": jnp.where(lost, jnp.nan, (1 - late) * channels + late * after),
    }
