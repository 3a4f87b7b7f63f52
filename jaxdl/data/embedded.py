"""Two small real data sets that ship with the package: no network, no folder, no waiting."""

import pathlib
from typing import Literal

import numpy as np

from jaxdl import checks
from jaxdl.data.splitting import train_test_split

Split = Literal["train", "test"] | None


def _embedded(name: str, split: Split) -> dict[str, np.ndarray]:
    checks.one_of(("train", "test", None), split=split)
    with np.load(pathlib.Path(__file__).parent / "embedded" / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if key != "source"}
    arrays["label"] = arrays["label"].astype(np.int32)
    if split is None:
        return arrays
    train, test = train_test_split(arrays, test_size=0.2, seed=0, stratify="label")
    return train if split == "train" else test


def digits(split: Split = None) -> dict[str, np.ndarray]:
    """Handwritten digits of 43 people, each pixel a count of ink in a 4x4 block of the scan.

    Args:
      split: "train" (1,437 examples), "test" (360, held out by class proportions with seed 0), or None for
        all 1,797.

    Returns:
      `image` uint8 [N, 8, 8, 1], ink count from 0 (paper) to 16, and `label` int32 [N], the digit.
      `scale_pixels(image, max_value=16)` brings the pixels to [0, 1].

    Raises:
      ValueError: unknown split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
      Repository, 1998, doi 10.24432/C50P49, licence CC BY 4.0. The 1,797 are its test file, in the file's
      order, the copy that scikit-learn ships.
    """
    return _embedded("digits", split)


def iris(split: Split = None) -> dict[str, np.ndarray]:
    """Four lengths of 150 iris flowers of three species.

    Args:
      split: "train" (120 examples), "test" (30, ten of each species, seed 0), or None for all 150.

    Returns:
      `features` float32 [N, 4], in cm: sepal length, sepal width, petal length, petal width; and `label`
      int32 [N]: 0 setosa, 1 versicolor, 2 virginica.

    Raises:
      ValueError: unknown split.

    Source: R. A. Fisher, Iris, UCI Machine Learning Repository, 1936, doi 10.24432/C56C76, licence CC BY 4.0.
    Differs from the UCI file in flowers 35 and 38, where scikit-learn's copy, used here, follows Fisher's
      paper.
    """
    return _embedded("iris", split)
