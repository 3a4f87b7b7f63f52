"""Data in, dict batches out: sources, batching, splitting, scaling, augmentation, small sets."""

from jaxdl.data.augmentation import random_rotate, random_translate, random_zoom
from jaxdl.data.batching import Batches
from jaxdl.data.builder import import_raw
from jaxdl.data.credit import credit_applications
from jaxdl.data.embedded import digits, iris
from jaxdl.data.logic import logic_gates, xor
from jaxdl.data.prefetching import prefetch_to_device
from jaxdl.data.reading import as_arrays
from jaxdl.data.scaling import mean_normalize, min_max_scale, one_hot, scale_pixels, standardize
from jaxdl.data.sequence_tasks import adding_problem, copy_memory, parity, reverse_tokens, sine_waves
from jaxdl.data.sources import load
from jaxdl.data.splitting import train_test_split

__all__ = [
    "Batches",
    "adding_problem",
    "as_arrays",
    "copy_memory",
    "credit_applications",
    "digits",
    "import_raw",
    "iris",
    "load",
    "logic_gates",
    "mean_normalize",
    "min_max_scale",
    "one_hot",
    "parity",
    "prefetch_to_device",
    "random_rotate",
    "random_translate",
    "random_zoom",
    "reverse_tokens",
    "scale_pixels",
    "sine_waves",
    "standardize",
    "train_test_split",
    "xor",
]
