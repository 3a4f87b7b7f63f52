"""Lists the experiments with their claims.

python -m experiments
"""

import ast
import pathlib
import sys

from rich.console import Console
from rich.table import Table


def listed() -> list[tuple[str, str, str]]:
    """Module name, claim (the docstring's first sentence) and data of every experiment, without importing any."""
    rows = []
    root = pathlib.Path(__file__).parent
    for path in sorted(root.glob("*/*.py")):
        if path.name == "__init__.py":
            continue
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        claim, *rest = docstring.split("\n\n")
        data = next((part.removeprefix("Data: ") for part in rest if part.startswith("Data: ")), "")
        rows.append(
            (f"experiments.{path.parent.name}.{path.stem}", " ".join(claim.split()), " ".join(data.split()))
        )
    return rows


def main() -> None:
    """Prints the table."""
    if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help"):
        Console(stderr=True).print(
            f"error: unknown argument {sys.argv[1]!r}; to run one: python -m {listed()[0][0]}"
        )
        sys.exit(2)
    table = Table(title="python -m NAME runs one, python -m NAME --help shows its settings", show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("claim of the default run")
    table.add_column("data")
    for row in listed():
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
