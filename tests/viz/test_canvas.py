"""What all figures share."""

import subprocess
import sys

import numpy as np
from matplotlib.colors import to_rgb

from jaxdl import viz
from jaxdl.viz import canvas


def test_import_is_light_and_leaves_no_global_state():
    code = (
        "import sys, jaxdl.viz\n"
        "assert not any(name.split('.')[0] == 'matplotlib' for name in sys.modules)\n"
        "jaxdl.viz.parameter_vs_loss([0, 1], [1, 0])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_public_names_explain_themselves():
    for name in viz.__all__:
        assert callable(getattr(viz, name))
        assert getattr(viz, name).__doc__


def test_looks_differ_also_when_printed_grey():
    looks = [canvas.look(i) for i in range(100)]
    assert len({(look.color, look.marker) for look in looks}) == 100
    assert len({(look.color, str(look.line)) for look in looks[:50]}) == 50
    assert len({str(look.line) for look in looks[:5]}) == 5
    assert len({look.marker for look in looks[:10]}) == 10


def lightness(rgb):
    """CIE L* of an sRGB colour in [0, 1], 0 to 100."""
    linear = np.where(
        np.asarray(rgb) <= 0.04045, np.asarray(rgb) / 12.92, ((np.asarray(rgb) + 0.055) / 1.055) ** 2.4
    )
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_diverging_colours_keep_the_sign_when_printed_grey():
    steps = lightness(canvas.diverging()(np.linspace(0, 1, 64))[:, :3])
    assert (np.diff(steps) > 0).all()
    assert steps[0] < 15
    assert steps[-1] > 95


def test_colours_are_seen_on_white():
    assert max(lightness([to_rgb(color) for color in canvas.COLORS])) < 75
