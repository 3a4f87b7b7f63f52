"""How large a net to try first."""

import math
from typing import NamedTuple

from jaxdl import checks

# Hidden layers to try, fewest and most, by what the problem is like.
_DEPTHS = {"separable": (0, 0), "simple": (1, 2), "complex": (3, 5)}


class HiddenLayers(NamedTuple):
    """A first guess.

    Attributes:
      min_depth: fewest hidden layers to try.
      max_depth: most; from about 8 on overfitting is the rule.
      width: of a single hidden layer, sqrt(num_inputs num_outputs).
      widths: of the hidden layers, first to last, rounded, for the depth that was asked for.
    """

    min_depth: int
    max_depth: int
    width: float
    widths: tuple[int, ...]


def hidden_layer_heuristic(
    num_inputs: int, num_outputs: int, problem: str = "simple", *, depth: int | None = None
) -> HiddenLayers:
    """Depth by the kind of problem, widths on a geometric line from the inputs to the outputs.

    width_l = num_inputs (num_outputs / num_inputs)^(l / (depth + 1)),  l = 1 ... depth

    One hidden layer gets sqrt(num_inputs num_outputs) units; more of them change evenly from layer to layer, so
    they get narrower wherever there are fewer outputs than inputs. A rule of thumb to start a search with, no
    theorem:

        MLP(hidden_layer_heuristic(784, 10, depth=2).widths, 10)          # 784-183-43-10

    Args:
      num_inputs: at least 1.
      num_outputs: at least 1.
      problem: "separable" by a line or plane (no hidden layer), "simple" or of few dimensions (1 to 2), "complex"
        or of many dimensions (3 to 5).
      depth: of `widths`, at least 0; None takes the fewest layers for the problem.

    Returns:
      `HiddenLayers(min_depth, max_depth, width, widths)`.

    Raises:
      ValueError: a number below its least, or an unknown problem.

    Source: Masters, "Practical Neural Network Recipes in C++", 1993, chapter 10 (the geometric pyramid).
    """
    checks.at_least(1, num_inputs=num_inputs, num_outputs=num_outputs)
    checks.one_of(tuple(_DEPTHS), problem=problem)
    fewest, most = _DEPTHS[problem]
    depth = fewest if depth is None else depth
    checks.at_least(0, depth=depth)
    ratio = num_outputs / num_inputs
    widths = tuple(max(1, round(num_inputs * ratio ** (l / (depth + 1)))) for l in range(1, depth + 1))
    return HiddenLayers(fewest, most, math.sqrt(num_inputs * num_outputs), widths)
