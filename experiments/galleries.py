"""Before and after: what each augmentation of `jaxdl.data` makes of a picture, a sound, a sentence.

`python -m experiments.vision.augmentation` draws all of them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, viz
from jaxdl.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Change = Callable[[Array, Array], Array]

# A cross in a ring, as strong as its lines cover a pixel.
_DISTANCE = np.abs(np.linspace(-1, 1, 12)[:, None] + 1j * np.linspace(-1, 1, 12)[None])
MARK = np.clip(1.5 - 8 * np.abs(_DISTANCE - 0.8), 0, 1).astype(np.float32)
MARK[5:7] = MARK[:, 5:7] = 1.0

# Each as strong as suits small photographs.
IMAGES: dict[str, Change] = {
    "random_flip": data.random_flip,
    "random_crop": lambda key, image: data.random_crop(
        key, image, (image.shape[0], image.shape[1]), padding=4
    ),
    "random_translate": partial(data.random_translate, max_fraction=0.125),
    "random_rotate": partial(data.random_rotate, max_degrees=15.0),
    "random_zoom": partial(data.random_zoom, max_fraction=0.2),
    "random_stretch": partial(data.random_stretch, max_fraction=0.2),
    "random_erasing": data.random_erasing,
    "color_jitter": partial(data.color_jitter, brightness=0.3, contrast=0.3, channels=0.1),
    "salt_and_pepper": data.salt_and_pepper,
    "gaussian_blur": partial(data.gaussian_blur, max_sigma=1.0),
    "sharpen": data.sharpen,
    "watermark": lambda key, image: data.watermark(key, image, jnp.asarray(MARK)),
    "rand_augment": data.rand_augment,
}

SOUNDS: dict[str, Change] = {
    "time_shift": partial(data.time_shift, max_shift=800),
    "add_noise": partial(data.add_noise, min_decibels=0.0, max_decibels=10.0),
    "change_speed": partial(data.change_speed, min_rate=0.6, max_rate=1.6, frame_size=256),
    "change_pitch": partial(data.change_pitch, max_semitones=7.0, frame_size=256),
}

SENTENCES = "The quick fox jumps over it. A lazy dog sleeps in the park! Does the (quick) dog dream?"
SYNONYMS = {
    "quick": ("fast", "swift"),
    "dog": ("hound",),
    "lazy": ("idle",),
    "jumps": ("leaps",),
    "park": ("garden",),
}
TREE = (
    "(S (NP (DT The) (NN man)) (VP (VBD gave) (NP (DT a) (NN book)) (PP (TO to) (NP (NNP Ann) (CC and) (NNP Bob)))"
    " (PP (IN in) (NP (DT the) (NN park)))) (. .))"
)
TEXTS: dict[str, tuple[str, Callable[[Array, str], str]]] = {
    "word_shuffle": (SENTENCES, data.word_shuffle),
    "sentence_shuffle": (SENTENCES, data.sentence_shuffle),
    "synonym_replacement": (SENTENCES, partial(data.synonym_replacement, synonyms=SYNONYMS, rate=0.6)),
    "random_insertion": (SENTENCES, partial(data.random_insertion, synonyms=SYNONYMS, rate=0.4)),
    "random_deletion": (SENTENCES, partial(data.random_deletion, rate=0.3)),
    "syntax_tree_paraphrase": (TREE, data.syntax_tree_paraphrase),
}


def changed(key: Array, change: Change, examples: Any) -> np.ndarray:
    """A batch, each example changed in its own way."""
    keys = jax.random.split(key, len(examples))
    return np.asarray(jax.jit(jax.vmap(change))(keys, jnp.asarray(examples)))


def image_changes(key: Array, images: Any, changes: Mapping[str, Change] = IMAGES) -> "Figure":
    """Pictures, and below them what each random change makes of them.

    Args:
      key: a JAX key.
      images: float in [0, 1] [N, H, W, C].
      changes: by name.
    """
    keys = jax.random.split(key, len(changes))
    after = {name: changed(k, change, images) for k, (name, change) in zip(keys, changes.items())}
    return viz.reconstructions({"original": images, **after})


def image_operations(key: Array, image: Any) -> "Figure":
    """One picture and what each operation without chance, or with it in the search for clusters only, makes of it.

    Args:
      key: a JAX key.
      image: float in [0, 1] [H, W, 3]; H and W even.
    """
    image = jnp.asarray(image)
    height, width, _ = image.shape
    grey = data.to_grayscale(image)
    mask = data.binarize(grey, data.otsu_threshold(grey))
    pyramid, (small, ((across, down, diagonal),)) = (
        data.laplacian_pyramid(image, 2),
        data.wavelet_transform(image, 1),
    )
    clusters, centres = data.cluster_segment(key, image, 4)
    detail = jnp.concatenate(
        [jnp.concatenate([small / 2, across + 0.5], 1), jnp.concatenate([down + 0.5, diagonal + 0.5], 1)], 0
    )
    small_pictures = {
        "resize": data.resize(image, (height // 2, width // 2)),
        "laplacian_pyramid,\nlast level": pyramid[-1],
    }
    results = {
        "original": image,
        "to_grayscale": grey,
        "binarize (Otsu)": mask,
        "complement": data.complement(image),
        "contrast_stretch": data.contrast_stretch(image, 5, 95),
        "histogram_equalize": data.histogram_equalize(image),
        "quantize_levels (4)": data.quantize_levels(image, 4) / 3,
        "pack_rgb565 and back": data.unpack_rgb565(data.pack_rgb565(data.quantize_levels(image, 256))) / 255,
        "median_filter": data.median_filter(image),
        "erode": data.erode(image),
        "dilate": data.dilate(image),
        "opening": data.opening(image),
        "closing": data.closing(image),
        "boundary of the mask": data.boundary(mask),
        "threshold_segment": data.threshold_segment(grey) > 0,
        "edge_segment": data.edge_segment(grey) > 0,
        "cluster_segment (4)": centres[clusters],
        "wavelet_transform": detail,
        "laplacian_pyramid,\nfirst level + ½": pyramid[0] + 0.5,
        **{name: data.pad_to_size(small, (height, width), 1.0) for name, small in small_pictures.items()},
    }

    def shown(result: Array) -> Array:
        result = jnp.clip(result.astype(jnp.float32), 0, 1).reshape(height, width, -1)
        return jnp.broadcast_to(result, (height, width, 3))

    return viz.image_grid(
        np.stack([shown(result) for result in results.values()]), titles=list(results), columns=6
    )


def sound_changes(key: Array, copies: int = 3) -> "Figure":
    """A few tones as a spectrogram, frequency upwards and time to the right, and what each change makes of them.

    Args:
      key: a JAX key.
      copies: of each change.
    """
    sound_key, *keys = jax.random.split(key, 1 + len(SOUNDS))
    tones = data.tone_sequences(sound_key, 16, max_tokens=4, noise=0.005)
    signal = tones["x"][jnp.argmax(tones["lengths"]), :, 0]
    repeated = jnp.broadcast_to(signal, (copies, len(signal)))
    rows, titles = [], []
    for change_key, (name, change) in zip(keys, SOUNDS.items()):
        rows += [signal, *changed(change_key, change, repeated)]
        titles += ["before", *[name] * copies]
    power = jax.vmap(partial(data.spectrogram, frame_size=128, hop=32))(jnp.stack(rows))
    decibels = jnp.clip(10 * jnp.log10(power + 1e-6), -20, 30)
    return viz.image_grid(np.asarray(decibels)[:, :, ::-1].swapaxes(1, 2), titles=titles, columns=1 + copies)


def text_changes(key: Array) -> list[dict[str, str]]:
    """A text before and after each change, as rows of a table."""
    keys = jax.random.split(key, len(TEXTS))
    return [
        {"change": name, "before": text, "after": change(k, text)}
        for k, (name, (text, change)) in zip(keys, TEXTS.items())
    ]
