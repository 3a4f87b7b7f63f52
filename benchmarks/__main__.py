"""Runs rows, prints the table, records the results."""

import argparse
import datetime
import os
import pathlib
import sys
from collections.abc import Sequence

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the other frameworks run on the CPU here

from rich.console import Console

from benchmarks import machine, report
from benchmarks.measure import Row, measure


def main(argv: Sequence[str] | None = None, rows: Sequence[Row] | None = None) -> int:
    """Runs the rows that the arguments name.

    Args:
      argv: command line without the program's name.
      rows: the table; that of `rows.py` by default.

    Returns:
      0; or 1 where a row failed. A missed target is no failure: it may be the machine's.
    """
    if rows is None:
        from benchmarks.rows import ROWS as rows
    table = {row.name: row for row in rows}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--row", nargs="+", metavar="NAME", default=list(table), help="rows to run; all by default"
    )
    parser.add_argument("--list", action="store_true", help="print the rows and their targets, run nothing")
    parser.add_argument("--repeats", type=int, default=21, metavar="N", help="turns, at most (default 21)")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path(__file__).with_name("results.json"),
        metavar="FILE",
        help="where results are kept, merged by row (default benchmarks/results.json)",
    )
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.row if name not in table]
    if unknown:
        parser.error(f"unknown row {', '.join(unknown)}; there are {', '.join(table)}")
    if arguments.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {arguments.repeats}")

    console = Console()
    if not console.is_terminal:
        console.width = 120
    if arguments.list:
        for row in rows:
            console.print(f"[bold]{row.name}[/bold]  {row.trains}", highlight=False)
            console.print(f"    sides: {', '.join(side.name for side in row.sides)}", highlight=False)
            for target in row.targets:
                console.print(f"    target: {target.text}", highlight=False)
        return 0

    try:
        results = report.read_results(arguments.output)
    except ValueError as error:
        parser.error(str(error))
    facts, versions = machine.facts(), machine.versions()
    report.print_machine(console, facts, versions)
    failed = []
    for name in dict.fromkeys(arguments.row):
        try:
            record = measure(table[name], arguments.repeats)
        except Exception:  # the other rows are still worth having
            console.print_exception()
            failed.append(name)
            continue
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        results[name] = {**record, "machine": facts, "versions": versions, "date": now}
        report.write_results(arguments.output, results)
        report.print_row(console, name, record)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
