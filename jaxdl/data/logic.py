"""Truth tables as data sets, rows in binary order: 00, 01, 10, 11."""

import itertools

import numpy as np

from jaxdl import checks


def logic_gates(num_inputs: int = 2, *, bipolar: bool = False) -> dict[str, np.ndarray]:
    """The inputs and the outputs of six gates, as one table.

    `and` is 1 where all inputs are 1, `or` where any is, `xor` where their number is odd; `nand`, `nor` and
    `xnor` are 1 minus those. All but `xor` and `xnor` are linearly separable.

    Args:
      num_inputs: inputs per gate, at least 2.
      bipolar: write -1 for 0, in inputs and outputs.

    Returns:
      `x` float32 [2^num_inputs, num_inputs], and `and`, `or`, `nand`, `nor`, `xor`, `xnor` float32
      [2^num_inputs, 1].

    Raises:
      ValueError: fewer than 2 inputs.
    """
    checks.at_least(2, num_inputs=num_inputs)
    x = np.array(list(itertools.product((0, 1), repeat=num_inputs)), np.float32)
    table = {
        "x": x,
        "and": x.min(axis=1, keepdims=True),
        "or": x.max(axis=1, keepdims=True),
        "xor": x.sum(axis=1, keepdims=True) % 2,
    }
    table |= {"nand": 1 - table["and"], "nor": 1 - table["or"], "xnor": 1 - table["xor"]}
    return {name: 2 * values - 1 for name, values in table.items()} if bipolar else table


def xor(*, bipolar: bool = False) -> dict[str, np.ndarray]:
    """The four rows of exclusive or, which no single linear threshold unit can compute.

    Args:
      bipolar: write -1 for 0, in inputs and outputs.

    Returns:
      `x` float32 [4, 2] and `y` float32 [4, 1].
    """
    table = logic_gates(2, bipolar=bipolar)
    return {"x": table["x"], "y": table["xor"]}
