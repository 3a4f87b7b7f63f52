"""What the numbers were measured on."""

import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_SIZE = 1536  # large enough for the full rate, 7.2 GFLOP


def cores() -> int:
    """Cores that this process may use; every side gets as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Processes that ran or waited to in the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


class Watch:
    """How much of the cores other processes take, from when it is made: whether to trust the numbers."""

    def __init__(self):
        self._start = self._used()

    @staticmethod
    def _used() -> tuple[float, float, float] | None:
        """Seconds of all cores, of those busy, and of this process; None where the system does not say."""
        path = pathlib.Path("/proc/stat")
        if not path.exists():
            return None
        ticks = [int(field) for field in path.read_text().split("\n", 1)[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        return sum(ticks) / second, (sum(ticks) - ticks[3] - ticks[4]) / second, time.process_time()

    def others(self) -> float | None:
        """Share of the cores' time, 0 to 1, that other processes used."""
        end = self._used()
        if self._start is None or end is None:
            return None
        total, busy, own = (after - before for before, after in zip(self._start, end))
        return min(max((busy - own) / total, 0.0), 1.0) if total > 0 else 0.0


def _processor() -> str:
    with_model = pathlib.Path("/proc/cpuinfo")
    if with_model.exists():
        for line in with_model.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """Processor, cores, threads per side, backend, load before the run."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads_per_side": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "jax_backend": jax.default_backend(),
        "load_before": round(load(), 2),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of every framework that is installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("jaxdl", "jax", "jaxlib", "flax", "optax", "torch", "keras", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def _multiplications() -> dict[str, Callable[[], Any]]:
    ones = jnp.ones((_SIZE, _SIZE), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiplications: dict[str, Callable[[], Any]] = {"jax": lambda: multiply(ones, ones).block_until_ready()}
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(cores())
        torch_ones = torch.ones((_SIZE, _SIZE))
        multiplications["torch"] = lambda: torch_ones @ torch_ones
    return multiplications


def matmul_rates(repeats: int = 3) -> dict[str, float]:
    """The best float32 matrix product of a few, in GFLOP/s: what the machine gives just now."""
    rates = {}
    for name, multiply in _multiplications().items():
        multiply()
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            multiply()
            best = min(best, time.perf_counter() - start)
        rates[name] = 2 * _SIZE**3 / best / 1e9
    return rates
