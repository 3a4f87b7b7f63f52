"""The galleries leave out no augmentation of `jaxdl.data`."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import galleries
from jaxdl import data

CHANGED = {
    "image": galleries.IMAGES,
    "signal": galleries.SOUNDS,
    "text": galleries.TEXTS,
    "tree": galleries.TEXTS,
}


@pytest.mark.parametrize("subject", CHANGED)
def test_every_random_change_is_shown(subject):
    takers = {
        name
        for name in data.__all__
        if inspect.isfunction(getattr(data, name))
        and list(inspect.signature(getattr(data, name)).parameters)[:2] == ["key", subject]
    }
    assert takers - {"cluster_segment"} <= set(CHANGED[subject])
    assert takers, "the signature by which they are found has changed"


def test_texts_come_before_and_after():
    rows = galleries.text_changes(jax.random.key(0))
    assert [row["change"] for row in rows] == list(galleries.TEXTS)
    assert sum(row["before"] != row["after"] for row in rows) >= 5


@pytest.mark.slow
def test_galleries_are_drawn():
    pytest.importorskip("matplotlib")
    images = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    key = jax.random.key(0)
    changes = {name: galleries.IMAGES[name] for name in ("random_flip", "watermark")}
    rows = galleries.image_changes(key, images, changes).axes[0].get_yticklabels()
    assert [row.get_text().split("\n")[0] for row in rows] == ["original", *changes]
    operations = galleries.image_operations(key, jnp.asarray(images[0]))
    titles = {axes.get_title().split(",")[0].split(" ")[0] for axes in operations.axes}
    assert {"to_grayscale", "erode", "opening", "cluster_segment", "resize", "wavelet_transform"} < titles
    assert len(galleries.sound_changes(key, 1).axes) == 2 * len(galleries.SOUNDS)
