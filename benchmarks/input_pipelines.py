"""Input pipelines: shuffled and augmented batches, from arrays that lie on the device or stream from the host.

Random images of the sizes of CIFAR-10 and MNIST. Every side shuffles them anew in each epoch, and for each image draws
a crop of the padded picture and a mirror image (CIFAR-10) or a turn (MNIST), then makes floats of it and normalizes
them. What is compared is the mean of all pixels: it differs by chance, and by more where padding, angle or scale do.

PyTorch's transforms work image by image in the `__getitem__` of a data set, as torchvision's do. Keras's `PyDataset`
and Grain get a whole batch to NumPy at a time, two to three times faster than image by image, and no threads, which
hold each other up in code that is mostly Python.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.machine import cores
from benchmarks.measure import Row, Run, Side, Target

Stream = Callable[[], Iterator[Any]]


@dataclasses.dataclass(frozen=True)
class Images:
    """A data set and what is done to each image.

    Attributes:
      name: of the row.
      count: images.
      shape: height, width, channels.
      batch_size: images per batch; what is left of an epoch is dropped.
      padding: pixels on each side, of which a crop of the image's size is taken.
      degrees: largest turn.
      mirror: whether half of the images are mirrored.
      mean: of each channel, which is taken off.
      std: of each channel, by which is divided.
    """

    name: str
    count: int
    shape: tuple[int, int, int]
    batch_size: int
    padding: int
    degrees: float = 0.0
    mirror: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self.count // self.batch_size

    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """`mean` and `std`, float32 [C]."""
        return np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)


@functools.lru_cache(maxsize=1)
def pixels(images: Images) -> np.ndarray:
    """The images themselves, uint8 [N, H, W, C]."""
    return np.random.default_rng(0).integers(0, 256, (images.count, *images.shape), np.uint8)


def jax_change(images: Images) -> Callable[[Any, Any], Any]:
    """`(key, uint8 [H, W, C]) -> float32 [H, W, C]` of this library's parts."""
    import jax

    from jaxdl import data

    mean, std = (values.reshape(1, 1, -1) for values in images.constants())

    def change(key: Any, image: Any) -> Any:
        crop_key, mirror_key, turn_key = jax.random.split(key, 3)
        image = data.random_crop(crop_key, image, images.shape[:2], images.padding)
        if images.mirror:
            image = data.random_flip(mirror_key, image)
        image = data.scale_pixels(image)
        if images.degrees:
            image = data.random_rotate(turn_key, image, images.degrees)
        return (image - mean) / std

    return change


def resident(images: Images, steps: int) -> tuple[Callable[[Any, Any], Any], Any, Any]:
    """So many batches in one program: the epoch's order, the gather and the changes.

    Returns:
      `(state, pixels) -> state`; the first state, with the last batch and the sum of the batches' means; the pixels.
    """
    import jax
    import jax.numpy as jnp

    from jaxdl import loops

    change = jax_change(images)

    def advance(state: dict[str, Any], pixels: Any) -> dict[str, Any]:
        def new_order() -> Any:
            key = jax.random.fold_in(jax.random.key(0), state["position"] // images.batches)
            return jax.random.permutation(key, images.count)

        start = state["position"] % images.batches
        order = jax.lax.cond(start == 0, new_order, lambda: state["order"])

        # The batch is carried from step to step: it is written whole, as a net would want it, and not only its mean.
        def step(carry: Any, position: Any) -> tuple[Any, None]:
            first = position % images.batches * images.batch_size
            rows = jax.lax.dynamic_slice_in_dim(order, first, images.batch_size)
            keys = jax.random.split(jax.random.fold_in(jax.random.key(1), position), images.batch_size)
            batch = jax.vmap(change)(keys, pixels[rows])
            return (batch, carry[1] + jnp.mean(batch)), None

        positions = state["position"] + jnp.arange(steps, dtype=jnp.int32)
        (batch, total), _ = loops.scan(step, (state["batch"], state["total"]), positions)
        return {"order": order, "position": state["position"] + steps, "batch": batch, "total": total}

    first = {
        "order": jnp.arange(images.count, dtype=jnp.int32),
        "position": jnp.zeros((), jnp.int32),
        "batch": jnp.zeros((images.batch_size, *images.shape)),
        "total": jnp.zeros(()),
    }
    return jax.jit(advance, donate_argnums=0), first, jax.device_put(pixels(images))


def _resident_side(images: Images, steps: int) -> Side:
    def build() -> Run:
        advance, state, arrays = resident(images, steps)

        def run(units: int) -> float:
            nonlocal state
            before = float(state["total"])
            for _ in range(units // steps):
                state = advance(state, arrays)
            return (float(state["total"]) - before) / units

        return run

    return Side("jaxdl (resident)", build, quantum=steps)


def jaxdl_stream(images: Images) -> Iterator[Any]:
    """`Batches` of host arrays, read ahead, changed on the device."""
    import jax

    from jaxdl import data

    change = jax_change(images)

    @jax.jit
    def changed(step: Any, batch: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), step), images.batch_size)
        return jax.vmap(change)(keys, batch)

    batches = data.prefetch_to_device(data.Batches({"image": pixels(images)}, images.batch_size))
    for step, batch in enumerate(batches):
        yield changed(step, batch["image"])


class TorchImages:
    """A map-style data set of PyTorch, its transforms written as torchvision's do them."""

    def __init__(self, images: Images):
        import torch

        self.images = images
        self.pixels = torch.from_numpy(pixels(images))
        self.mean, self.std = (torch.from_numpy(values)[:, None, None] for values in images.constants())

    def __len__(self) -> int:
        return self.images.count

    def __getitem__(self, index: int) -> Any:
        import torch
        from torch.nn import functional

        (height, width, _), padding = self.images.shape, self.images.padding
        image = functional.pad(self.pixels[index].permute(2, 0, 1), (padding,) * 4)
        top, left = torch.randint(0, 2 * padding + 1, (2,)).tolist()
        image = image[:, top : top + height, left : left + width]
        if self.images.mirror and torch.rand(1).item() < 0.5:
            image = image.flip(-1)
        image = image.float().div(255)
        if self.images.degrees:
            angle = math.radians(torch.empty(1).uniform_(-self.images.degrees, self.images.degrees).item())
            cos, sin = math.cos(angle), math.sin(angle)
            turn = torch.tensor([[[cos, sin, 0.0], [-sin, cos, 0.0]]])
            grid = functional.affine_grid(turn, [1, *image.shape], align_corners=False)
            image = functional.grid_sample(image[None], grid, align_corners=False)[0]
        return image.sub(self.mean).div(self.std)


def torch_stream(images: Images, workers: int) -> Iterator[Any]:
    """`DataLoader`, its workers kept from epoch to epoch; batches [B, C, H, W].

    Workers are started afresh, not forked: JAX's threads would not survive that.
    """
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(cores())
    options: dict[str, Any] = (
        {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
    )
    data_set: Any = TorchImages(images)
    loader = DataLoader(
        data_set, images.batch_size, shuffle=True, drop_last=True, num_workers=workers, **options
    )
    while True:
        yield from loader


def numpy_changes(images: Images, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same changes of uint8 [B, H, W, C] in NumPy and SciPy."""
    (height, width, _), padding = images.shape, images.padding
    mean, std = images.constants()
    padded = np.pad(batch, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    places = rng.integers(0, 2 * padding + 1, (len(batch), 2)).tolist()
    mirrored = rng.random(len(batch)) < (0.5 if images.mirror else 0.0)
    result = np.empty(batch.shape, np.float32)
    for i, (top, left) in enumerate(places):
        image = padded[i, top : top + height, left : left + width]
        result[i] = image[:, ::-1] if mirrored[i] else image
    result /= 255
    if images.degrees:
        from scipy import ndimage

        for i, angle in enumerate(rng.uniform(-images.degrees, images.degrees, len(batch)).tolist()):
            result[i] = ndimage.rotate(result[i], angle, (1, 0), reshape=False, order=1, mode="grid-constant")
    result -= mean
    result /= std
    return result


def keras_stream(images: Images) -> Iterator[Any]:
    """A `PyDataset`, read in order by one thread as `fit` does, told when an epoch has ended."""
    keras = supervised.import_keras()
    arrays = pixels(images)

    class Pictures(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(0)
            self.on_epoch_end()

        def __len__(self) -> int:
            return images.batches

        def __getitem__(self, index: int) -> np.ndarray:
            rows = self.order[index * images.batch_size : (index + 1) * images.batch_size]
            return numpy_changes(images, arrays[rows], self.rng)

        def on_epoch_end(self) -> None:
            self.order = self.rng.permutation(images.count)

    pictures = Pictures()
    while True:
        for index in range(len(pictures)):
            yield pictures[index]
        pictures.on_epoch_end()


def grain_stream(images: Images) -> Iterator[Any]:
    """A `MapDataset`, shuffled, batched, changed."""
    import grain

    source: Any = pixels(images)  # a sequence, which Grain's types do not see
    data_set = grain.MapDataset.source(source).seed(0).shuffle().repeat()
    data_set = data_set.batch(images.batch_size, drop_remainder=True)
    data_set = data_set.random_map(functools.partial(numpy_changes, images))
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    yield from data_set.to_iter_dataset(options)


def _stream_side(name: str, stream: Stream, *needs: str) -> Side:
    """Takes the mean of every batch, and waits for the last one's."""

    def build() -> Run:
        batches = stream()

        def run(units: int) -> float:
            total: Any = 0.0
            for batch in itertools.islice(batches, units):
                total = total + batch.mean()
            return float(total) / units

        return run

    return Side(name, build, needs)


def row(images: Images, steps: int, tolerance: float) -> Row:
    """Batches of a data set through every pipeline.

    Args:
      images: the data set.
      steps: batches of a block, which divide an epoch; of ours on the device, one program.
      tolerance: of the mean over a block, by its standard error.
    """
    ours = _resident_side(images, steps), _stream_side("jaxdl (streamed)", lambda: jaxdl_stream(images))
    others = (
        _stream_side("torch", lambda: torch_stream(images, 0), "torch"),
        _stream_side("torch (2 workers)", lambda: torch_stream(images, 2), "torch"),
        _stream_side("keras", lambda: keras_stream(images), "keras", "scipy"),
        _stream_side("grain", lambda: grain_stream(images), "grain", "scipy"),
    )
    changes = f"crop of {images.padding} pixels' padding" + ", mirror" * images.mirror
    changes += f", turn of {images.degrees:g}°" if images.degrees else ""
    size = "×".join(map(str, images.shape))
    return Row(
        name=images.name,
        trains=f"{images.count:,} images {size}, batch {images.batch_size}: shuffle, {changes}, normalize",
        sides=(*ours, *others),
        targets=[
            Target(f"{text} {other.name}", other.name, side.name, at_least=bound)
            for text, side, bound in (
                ("resident: twice", ours[0], 2.0),
                ("streamed: level with", ours[1], 0.97),
            )
            for other in others
        ],
        unit="batch",
        units=steps,
        check_units=steps,
        tolerance=tolerance,
        limit=60.0,
    )


def cifar10_row() -> Row:
    """Crops and mirror images of 32×32×3; a block is a fifth of an epoch."""
    images = Images(
        "cifar10_batches",
        50_000,
        (32, 32, 3),
        128,
        padding=4,
        mirror=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    )
    # The share of padding varies from picture to picture: four standard errors of 9,984 pictures' mean are 4 %.
    return row(images, steps=78, tolerance=5e-2)


def mnist_row() -> Row:
    """Crops and turns of 28×28×1; a block is a sixth of an epoch."""
    images = Images(
        "mnist_batches", 60_000, (28, 28, 1), 128, padding=2, degrees=10.0, mean=(0.1307,), std=(0.3081,)
    )
    return row(images, steps=78, tolerance=5e-3)
