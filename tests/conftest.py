"""What every test shares: eight simulated devices, strict promotion, explicit keys."""

import importlib.util
import json
import os
import pathlib
import resource
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ["JAXDL_OFFLINE"] = "1"  # no test reaches for the network

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the suite's time is compilation; a second run finds the programs on disk.
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


# CPU seconds of tests, recorded by `make test-costs`. What costs more than LIMIT is marked slow, so that `make test`
# stays quick however many tests there are; `make test-all` runs everything.
COSTS = pathlib.Path(__file__).with_name("costs.json")
LIMIT = 0.9


def pytest_collection_modifyitems(items):
    costs = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    for item in items:
        if costs.get(item.nodeid, 0) > LIMIT:
            item.add_marker(pytest.mark.slow)


def _cpu_seconds():
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = _cpu_seconds()
    result = yield
    if path := os.environ.get("JAXDL_TEST_COSTS"):
        with open(path, "a") as file:
            print(json.dumps([item.nodeid, round(_cpu_seconds() - before, 2)]), file=file)
    return result


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def torchvision():
    """torchvision, or a skip. PyPI's build wants CUDA's libraries; what it has in Python (all models, the losses and
    overlaps of boxes, RoI align) works beside any torch once the operators that its import asks for are declared."""
    torch = pytest.importorskip("torch")
    found = importlib.util.find_spec("torchvision")
    if found is None:
        pytest.skip("torchvision is not installed")
    declared = []  # an operator lives as long as the library that declares it
    try:
        torch.ops.load_library(pathlib.Path(found.origin).with_name("_C.so"))
    except OSError:
        declared.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            declared[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    # Its own plain form, which it would compile at the first call.
    align = sys.modules["torchvision.ops.roi_align"]
    align._roi_align = getattr(align._roi_align, "__wrapped__", align._roi_align)
    yield torchvision
    declared.clear()
