"""Weights of recurrent layers in PyTorch's layout, and back.

Shapes: D inputs, H hidden units, G blocks of weights (1, 3, 4).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.types import Array, Params

# PyTorch's order of the blocks, in the letters of our parameters, and those whose bias stands beside the state.
_GATES = {4: ("i", "f", "g", "o"), 3: ("r", "z", "n"), 1: ("",)}
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _cell_from_torch(parts: Mapping[str, np.ndarray]) -> Params:
    w, u = parts["weight_ih"], parts["weight_hh"]
    blocks, rest = divmod(u.shape[0], u.shape[1])
    if rest or blocks not in _GATES or w.shape[0] != u.shape[0]:
        raise ValueError(
            f"weights must have G H rows and weight_hh H columns, G being 1, 3 or 4, got {w.shape} and {u.shape}"
        )
    gates = _GATES[blocks]
    cell: dict[str, Any] = {}
    for side, kernel in (("i", w), ("h", u)):
        for gate, part in zip(gates, np.split(kernel.T, blocks, axis=1)):
            cell[side + gate] = {"kernel": part}
    if "bias_ih" in parts:
        of_inputs, of_states = (np.split(parts[name], blocks) for name in ("bias_ih", "bias_hh"))
        for gate, b, d in zip(gates, of_inputs, of_states):
            if blocks == 4:
                cell["h" + gate]["bias"] = b + d
            elif gate == "n":
                cell["in"]["bias"], cell["hn"]["bias"] = b, d
            else:
                cell["i" + gate]["bias"] = b + d
    return cell


def _cell_to_torch(cell: Mapping[str, Any]) -> dict[str, np.ndarray]:
    blocks = len(cell) // 2
    if blocks not in _GATES or set(cell) != {side + gate for side in "ih" for gate in _GATES[blocks]}:
        raise ValueError(
            f"params must be those of a SimpleCell, LSTMCell without peepholes or GRUCell, got {sorted(cell)}"
        )
    gates = _GATES[blocks]
    parts = {
        f"weight_{side}h": np.concatenate([np.asarray(cell[side + gate]["kernel"]) for gate in gates], 1).T
        for side in "ih"
    }
    if any("bias" in block for block in cell.values()):
        features = parts["weight_hh"].shape[1]

        def bias(name):
            return np.asarray(cell[name].get("bias", np.zeros(features, parts["weight_hh"].dtype)))

        zero = bias("i" + gates[0]) * 0
        parts["bias_ih"] = np.concatenate([bias(("h" if blocks == 4 else "i") + gate) for gate in gates])
        parts["bias_hh"] = np.concatenate([bias("hn") if gate == "n" else zero for gate in gates])
    return parts


def recurrent_params_from_torch(weights: Mapping[str, Array]) -> Params:
    """Parameters of a `StackedRNN` that computes what a torch.nn.RNN, LSTM or GRU with these weights does (host).

    PyTorch puts the blocks one below the other, [G H, D], in the order i, f, g, o or r, z, n, and adds two biases;
    here the blocks are kernels [D, H] with linen's names, and a bias is the sum of the two, except for n of a GRU,
    which needs both.

    Args:
      weights: the layer's `state_dict()` as arrays: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, and so
        on for each layer, with `_reverse` behind for the other direction; no biases, or all.

    Returns:
      {"layers_0": {"cell": ...}, ...}, or for a bidirectional layer {"layers_0": {"forward_rnn": {"cell": ...},
      "backward_rnn": {"cell": ...}}, ...}. A single `RNN` takes the entry "layers_0". A GRU is a `GRUCell` with its
      default conventions; without biases the cells are those with `use_bias=False`.

    Raises:
      ValueError: another name (such as the projection of an LSTM with `proj_size`), a missing one, or shapes of no
        such layer.
    """
    cells: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    for name, value in weights.items():
        stem, _, place = name.partition("_l")
        number, direction = place.removesuffix("_reverse"), place.endswith("_reverse")
        if stem not in _PARTS or not number.isdecimal():
            raise ValueError(f"weights must have the names weight_ih_l0 and so on, got {name!r}")
        side = "backward_rnn" if direction else "forward_rnn"
        cells.setdefault(int(number), {}).setdefault(side, {})[stem] = np.asarray(value)
    params: dict[str, Any] = {}
    for number in range(len(cells)):
        for side, parts in cells.get(number, {"forward_rnn": {}}).items():
            missing = {"weight_ih", "weight_hh"} - set(parts)
            if missing or ("bias_ih" in parts) != ("bias_hh" in parts):
                raise ValueError(
                    f"weights must have all parts of layer {number}, got {sorted(parts)} ({side})"
                )
            params.setdefault(f"layers_{number}", {})[side] = {"cell": _cell_from_torch(parts)}
    return {name: layer if len(layer) == 2 else layer["forward_rnn"] for name, layer in params.items()}


def recurrent_params_to_torch(params: Params) -> dict[str, np.ndarray]:
    """The `state_dict` of a torch.nn.RNN, LSTM or GRU that computes what a `StackedRNN` does (host).

    The inverse of `recurrent_params_from_torch` up to the biases: ours go to `bias_ih`, and `bias_hh` is 0, except for
    n of a GRU.

    Args:
      params: of a `StackedRNN` whose cells are all `SimpleCell`, `LSTMCell` without peepholes, or `GRUCell` with its
        default conventions, in layers of one kind.

    Returns:
      Arrays by PyTorch's names, for `load_state_dict` after `torch.from_numpy`.

    Raises:
      ValueError: parameters of other cells or layers.
    """
    weights = {}
    for number in range(len(params)):
        layer = params.get(f"layers_{number}", {})
        sides = {"": layer.get("forward_rnn", layer), "_reverse": layer.get("backward_rnn")}
        for suffix, side in sides.items():
            if side is None:
                continue
            if set(side) != {"cell"}:
                raise ValueError(f"params must be those of RNN and Bidirectional layers, got {sorted(side)}")
            for stem, value in _cell_to_torch(side["cell"]).items():
                weights[f"{stem}_l{number}{suffix}"] = value
    return weights
