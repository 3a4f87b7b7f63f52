"""Series of measurements: brought to common times, and from counters to rates. On the host."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl import checks


def _clock(name: str, times: Any) -> np.ndarray:
    times = np.asarray(times, np.float64)
    checks.rank(1, **{name: times})
    if times.size == 0:
        raise ValueError(f"{name} must hold at least one time, got none")
    if not np.isfinite(times).all():
        raise ValueError(f"{name} holds NaN or infinity, first at place {int(np.argmin(np.isfinite(times)))}")
    return times


def synchronize(
    series: Mapping[str, tuple[Any, Any]],
    times: Any,
    *,
    how: str = "linear",
    max_gap: float | None = None,
) -> dict[str, np.ndarray]:
    """Reads several series, each measured at its own times, at the same times.

    linear: v(t) = v_i + (v_{i+1} - v_i) (t - t_i) / (t_{i+1} - t_i), t_i <= t <= t_{i+1};  previous: v(t) = v_i

    What was not measured is not invented: NaN before a series' first and after its last time. Measurements that are
    NaN count as not taken, so the gap around them is bridged; `impute` fills what stays NaN.

    Args:
      series: by name (times [K], values [K]), K of its own for each; times strictly increasing, in one unit and
        from one origin.
      times: where to read, [T], in the same unit.
      how: "linear", or "previous" for a state or a setting that holds until the next message.
      max_gap: the longest time between two neighbouring measurements that is bridged, and for "previous" the
        longest age; above 0, None for any. Longer gaps give NaN.

    Returns:
      float64 [T] by name.

    Raises:
      ValueError: unequal lengths, times that do not increase (names series and place) or are not finite, an unknown
        `how`.
    """
    checks.one_of(("linear", "previous"), how=how)
    if max_gap is not None:
        checks.positive(max_gap=max_gap)
    wanted = _clock("times", times)
    read = {}
    for name, (clock, values) in series.items():
        clock, values = _clock(f"times of {name}", clock), np.asarray(values, np.float64)
        checks.same_shape(**{f"values of {name}": values, f"times of {name}": clock})
        if (backwards := np.diff(clock) <= 0).any():
            place = int(np.argmax(backwards)) + 1
            raise ValueError(
                f"times of {name} must increase, got {clock[place - 1 : place + 1]} at place {place}"
            )
        taken = ~np.isnan(values)
        clock, values = clock[taken], values[taken]
        if not clock.size:
            read[name] = np.full(wanted.shape, np.nan)
            continue
        before = np.clip(np.searchsorted(clock, wanted, side="right") - 1, 0, None)
        exact = clock[before] == wanted
        after = np.clip(before + 1, None, clock.size - 1)
        known = (wanted >= clock[0]) & (wanted <= clock[-1])
        if max_gap is not None:
            until = clock[after] if how == "linear" else wanted
            known &= exact | (until - clock[before] <= max_gap)
        result = np.interp(wanted, clock, values) if how == "linear" else values[before]
        read[name] = np.where(known, result, np.nan)
    return read


def gaugify(
    counter: Any, *, modulus: float | None = None, resets: bool = False, axis: int = -1
) -> np.ndarray:
    """Turns a counter that only grows into what it grew by: 5, 8, 8, 15 becomes 3, 0, 7.

    d_t = c_{t+1} - c_t;  plus the modulus where the counter ran over;  c_{t+1} where it was reset to 0

    Args:
      counter: numbers [..., T, ...], T at least 2; NaN where missing, which makes both differences with it NaN.
      modulus: the number after which the counter begins at 0 again, for instance 2**32; above every value.
      resets: whether a fall means that the counter began at 0 in between (a restarted program); what was
        counted between the last reading and the restart is lost. Not with a modulus.
      axis: of time.

    Returns:
      One value fewer along `axis`, at least 0: the dtype of the counter (signed and wide enough for its differences).

    Raises:
      ValueError: a counter that falls, without `modulus` or `resets` (names the place); fewer than two values; both
        settings; a value outside [0, modulus).
      TypeError: not numbers.
    """
    counter = np.asarray(counter)
    if counter.ndim == 0 or counter.shape[axis] < 2:
        raise ValueError(
            f"counter must hold at least two values along axis {axis}, got shape {counter.shape}"
        )
    if not (np.issubdtype(counter.dtype, np.floating) or np.issubdtype(counter.dtype, np.integer)):
        raise TypeError(f"counter must be numbers, got {counter.dtype}")
    if modulus is not None and resets:
        raise ValueError(
            "modulus and resets must not be given together: a fall is either the one or the other"
        )
    if np.issubdtype(counter.dtype, np.integer):
        counter = counter.astype(np.int64)
    if modulus is not None:
        checks.positive(modulus=modulus)
        if ((counter < 0) | (counter >= modulus)).any():
            raise ValueError(
                f"counter must lie in [0, {modulus}), got {np.nanmin(counter)} to {np.nanmax(counter)}"
            )
    growth = np.diff(counter, axis=axis)
    falls = growth < 0
    if modulus is not None:
        growth = np.where(falls, growth + np.asarray(modulus, counter.dtype), growth)
    elif resets:
        growth = np.where(falls, np.take(counter, np.arange(1, counter.shape[axis]), axis=axis), growth)
    elif falls.any():
        place = np.argwhere(falls)[0].tolist()
        raise ValueError(
            f"counter falls after place {place if len(place) > 1 else place[0]}: say modulus=... if it runs over, "
            "resets=True if it begins at 0 again"
        )
    return growth
