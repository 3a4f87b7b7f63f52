"""Two domains: colours of each, the same scene in both, and no pair between them."""

import numpy as np

from jaxdl import data
from jaxdl.data.landscapes import _SUMMER, _WINTER


def kinds(pictures, palette):
    distance = np.abs(pictures[..., None, :] - palette).sum(-1)
    assert distance.min(-1).max() < 1e-6  # nothing but the domain's own colours
    return distance.argmin(-1)


def test_translations_show_the_same_scene(made):
    table = made(lambda key: data.two_domains(key, 40, image_size=32))
    domains = {name: kinds(table[name], p) for name, p in (("a", _SUMMER), ("a_to_b", _WINTER))}
    domains |= {name: kinds(table[name], p) for name, p in (("b", _WINTER), ("b_to_a", _SUMMER))}
    assert not np.intersect1d(_SUMMER.sum(1), _WINTER.sum(1)).size  # one pixel gives the season away
    for name, translated in (("a", "a_to_b"), ("b", "b_to_a")):
        first, second = domains[name], domains[translated]
        same = first == second
        # Sky, sun, ground and trunk stay; only what is or was crown may differ.
        assert ((first == 3) | (second == 3))[~same].all()
        assert 0.85 < same.mean() < 1
    # A triangle has half of its box, an ellipse pi / 4.
    summer, winter = (domains["a"] == 3).sum((1, 2)), (domains["a_to_b"] == 3).sum((1, 2))
    np.testing.assert_allclose((summer / winter).mean(), np.pi / 2, rtol=0.06)
    # Unpaired: rows of a and b are different scenes of one distribution.
    scenes = np.stack([table["a_scene"], table["b_scene"]])
    assert np.abs(scenes[0] - scenes[1]).max(1).min() > 0.05
    np.testing.assert_allclose(scenes.mean((0, 1)), 0.5, atol=0.14)
    # The sun is where the scene says.
    for picture, scene in zip(domains["a"], table["a_scene"]):
        rows, columns = np.nonzero(picture == 1)
        if len(rows) > 14:
            place = [(columns.mean() + 0.5) / 32, 1 - (rows.mean() + 0.5) / 32]
            np.testing.assert_allclose(place, [0.1 + 0.8 * scene[0], 0.75 + 0.15 * scene[1]], atol=0.04)
