"""The table on the terminal and the record on disk."""

import pathlib
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxdl import files


def _durations(*seconds: float) -> str:
    """In the unit that suits the first."""
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds[0] >= s), ("µs", 1e-6))
    return f"{'–'.join(f'{value / size:.3g}' for value in seconds)} {unit}"


def _spread(measured: dict[str, Any]) -> str:
    low, high = measured["quartiles"]
    return f"{measured['ratio']:.2f} ({low:.2f}–{high:.2f})"


def _verdict(met: bool | None) -> Text:
    return {
        True: Text("met", "green"),
        False: Text("missed", "bold red"),
        None: Text("a side is missing", "yellow"),
    }[met]


def _bound(target: dict[str, Any]) -> str:
    signs = {"at_least": "≥", "at_most": "≤"}
    return " ".join(f"{sign} {target[name]:g}" for name, sign in signs.items() if name in target)


def print_machine(console: Console, machine: dict[str, Any], versions: dict[str, str]) -> None:
    """Prints the lines above the table."""
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads_per_side']} threads for every "
        f"side, JAX on {machine['jax_backend']}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    if machine["load_before"] > 0.5:
        console.print(
            f"The machine was busy before this began (load {machine['load_before']:.1f}): expect noise.",
            style="yellow",
        )


def print_row(console: Console, name: str, record: dict[str, Any]) -> None:
    """Prints one row: its sides, then its targets."""
    rates = ", ".join(
        f"{side} {min(values):.0f}–{max(values):.0f}" for side, values in record["matmul_gflops"].items()
    )
    reference = next(iter(record["sides"]))
    table = Table(
        title=f"[bold]{name}[/bold]: {record['trains']}",
        title_justify="left",
        title_style="",
        caption=f"losses within {record['loss_difference']:.1e}; float32 matmul {rates} GFLOP/s; "
        f"{record['seconds']:.0f} s",
        caption_justify="left",
        box=rich.box.SIMPLE,
    )
    table.add_column("side", no_wrap=True)
    for heading in (
        "first call",
        f"median per {record['unit']}",
        "quartiles",
        "over the first",
        "blocks",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for side, measured in record["sides"].items():
        if "missing" in measured:
            continue
        table.add_row(
            side,
            _durations(measured["first_call_seconds"]),
            _durations(measured["median_seconds"]),
            _durations(*measured["quartile_seconds"]),
            _spread(measured[f"over_{reference}"]),
            f"{measured['blocks']} × {measured['units_per_block']}",
        )
    console.print(table)
    for side, measured in record["sides"].items():
        if "missing" in measured:
            console.print(f"  {side}: {measured['missing']}", style="yellow", highlight=False)
    for target in record["targets"]:
        line = Text(f"  {target['text']}: {target['over']} / {target['under']} ")
        line.append(_spread(target) if "ratio" in target else "not measured")
        line.append(f", wanted {_bound(target)}: ")
        console.print(line + _verdict(target["met"]))
    others = record["others_share_of_cores"]
    if others is not None and others > 0.05:
        console.print(
            f"  Noise: others used {others:.0%} of the cores meanwhile. Measure when it is quiet.",
            style="yellow",
        )
    console.print()


def read_results(path: pathlib.Path) -> dict[str, Any]:
    """The rows measured so far.

    Raises:
      ValueError: the file is there but is not a record of rows.
    """
    if not path.exists():
        return {}
    results = files.read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("rows"), dict):
        raise ValueError(f"{path} holds no results of this program. Remove it, or choose another --output")
    return results["rows"]


def write_results(path: pathlib.Path, rows: dict[str, Any]) -> None:
    """Writes all rows, sorted by name."""
    files.write_json(path, {"rows": {name: rows[name] for name in sorted(rows)}})
