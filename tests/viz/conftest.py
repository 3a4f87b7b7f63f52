"""How a figure is read back."""

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")


@pytest.fixture
def drawn():
    """The figure's axes, after it has been rendered once: warnings while drawing fail the test."""

    def axes_of(figure):
        figure.savefig(io.BytesIO(), format="png", dpi=40)
        return figure.axes

    return axes_of


@pytest.fixture
def picture():
    """The image that an axes shows, NaN where there is none."""
    return lambda axes: np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


@pytest.fixture
def legend():
    """The texts of an axes' or a figure's legend."""

    def texts(owner):
        box = owner.get_legend() if hasattr(owner, "get_legend") else owner.legends[0]
        return [text.get_text() for text in box.get_texts()]

    return texts
