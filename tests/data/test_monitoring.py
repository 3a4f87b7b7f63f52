"""Process faults: the loop in NumPy, the parity relations that find every fault, and the way back from raw readings."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.monitoring import CHANNELS, FAULTS

SIZE, LENGTH = 600, 120


def faults(key, noise, missing_rate):
    return data.process_faults(key, SIZE, length=LENGTH, noise=noise, missing_rate=missing_rate)


@pytest.fixture(scope="module")
def table(made):
    return made(faults, 0.01, 0.1)


def channel(table, name):
    return table["x"][..., CHANNELS.index(name)].astype(np.float64)


def test_without_noise_the_loop_obeys_its_equations(made):
    table = made(faults, 0.0, 0.0)
    r, a, b, c, flow, heat = (channel(table, name) for name in CHANNELS)
    y, fault, t = table["y"][:, None], table["fault"], np.arange(LENGTH)
    since = t - table["onset"][:, None]
    np.testing.assert_array_equal(fault, np.where(since >= 0, y, 0))
    assert set(table["y"]) == set(range(len(FAULTS)))
    ill = table["y"] > 0
    assert (table["onset"][~ill] == LENGTH).all()
    assert table["onset"][ill].min() >= LENGTH // 4
    assert table["onset"][ill].max() < LENGTH // 2
    np.testing.assert_array_equal(flow, heat)

    total = r[:, :1] + np.cumsum(0.2 * (r - a), axis=1)
    np.testing.assert_allclose(c, np.clip(1.5 * (r - a) + total, 0, 1.2), atol=2e-5)
    drive = (b[:, 1:] - b[:, :-1]) * 8 + b[:, :-1]  # k v
    gain = drive / np.maximum(flow[:, :-1], 1e-3)
    fouled = fault[:, :-1] == FAULTS.index("fouling")
    flowing = flow[:, :-1] > 0.05
    np.testing.assert_allclose(gain[~fouled & flowing], 1, atol=1e-3)
    assert gain[fouled & flowing].min() > 0.5 - 1e-3
    assert gain[fouled & flowing].max() < 0.7 + 1e-3
    stuck_valve = fault == FAULTS.index("stuck valve")
    np.testing.assert_array_equal(flow[~stuck_valve], c[~stuck_valve])
    held = stuck_valve[:, 1:]
    np.testing.assert_array_equal(flow[:, 1:][held], flow[:, :-1][held])
    stuck = (fault == FAULTS.index("stuck sensor"))[:, 1:]
    np.testing.assert_array_equal(a[:, 1:][stuck], a[:, :-1][stuck])
    off = np.abs(a - b)
    assert off[(fault == 0) | (fault >= 4)].max() == 0
    bias = off[fault == FAULTS.index("sensor bias")]
    assert bias.min() > 0.08 - 1e-5
    assert bias.max() < 0.16 + 1e-5
    drift = (fault == FAULTS.index("sensor drift")) & (since > 0)
    slope = off[drift] / since[drift]
    assert slope.min() > 0.002 - 1e-5
    assert slope.max() < 0.004 + 1e-5


def test_the_parity_relations_name_the_fault(table):
    a, b, c, flow = (channel(table, name) for name in ("temperature_a", "temperature_b", "command", "flow"))
    sensor, valve = a - b, flow - c
    tank = b[:, 1:] - b[:, :-1] - (flow[:, :-1] - b[:, :-1]) / 8
    last = slice(-LENGTH // 4, None)
    guess = np.zeros(SIZE, int)
    # Standard deviations of the mean over 30 steps: 0.0026 for both differences; the tank's noise mostly cancels.
    guess[np.abs(tank[:, -LENGTH // 2 :].mean(1)) > 0.006] = FAULTS.index("fouling")
    guess[np.abs(valve[:, last]).mean(1) > 0.016] = FAULTS.index("stuck valve")
    off = (np.abs(sensor[:, last]).mean(1) > 0.03) | (np.diff(a[:, last]) == 0).all(1)
    slope = np.abs(np.polyfit(np.arange(LENGTH // 4), sensor[:, last].T, 1)[0])
    guess[off] = np.where(slope[off] > 0.0013, FAULTS.index("sensor drift"), FAULTS.index("sensor bias"))
    guess[(np.diff(a[:, last]) == 0).all(1)] = FAULTS.index("stuck sensor")
    assert (guess == table["y"]).mean() > 0.97


def test_raw_readings_lead_back(table):
    lost = np.isnan(table["readings"])
    np.testing.assert_allclose(lost.mean(), 0.1, atol=0.01)
    late = table["times"] - np.arange(LENGTH)
    assert late.min() >= 0
    assert late.max() < 1.00001
    np.testing.assert_allclose(np.ptp(late, axis=-1), 0, atol=1e-5)
    steps = np.arange(2, LENGTH - 2.0)
    for row in range(5):
        clocks, readings = table["times"][row], table["readings"][row].astype(np.float64)
        series = {name: (clocks[k], readings[k]) for k, name in enumerate(CHANNELS)}
        read = data.synchronize(series, steps)
        heat = data.gaugify(read["heat"])
        np.testing.assert_allclose(heat, channel(table, "heat")[row, 3 : LENGTH - 2], atol=0.12)
        error = read["temperature_b"] - channel(table, "temperature_b")[row, 2 : LENGTH - 2]
        assert np.abs(error).mean() < 0.02
        assert np.abs(error).max() < 0.08


def test_errors(key):
    with pytest.raises(ValueError, match="length must be at least 40"):
        data.process_faults(key, 1, length=10)
    with pytest.raises(ValueError, match="missing_rate must be at least 0 and below 1"):
        data.process_faults(jax.random.key(0), 1, missing_rate=1.0)
