"""What a run measured, step by step."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxdl import files


class History(Mapping[str, tuple[list[int], list[float]]]):
    """The logged metrics of a run: `history["loss"]` is `(steps, values)`.

    A metric has a point for each step that reported it, so training and validation curves may differ in length. Each
    row also holds `seconds`, the training time so far.

    Attributes:
      rows: one dict per logged step, with "step" and the metrics as floats.
      first_step_seconds: seconds of the first call of the step, most of it compilation.
      stopped: why training ended before its last step, or None.
    """

    def __init__(self, path: files.Path | None = None):
        """
        Args:
          path: file that receives every row as a line of JSON as it is logged; kept in memory only when None.
        """
        self.path = None if path is None else pathlib.Path(path)
        self.rows: list[dict[str, Any]] = []
        self.first_step_seconds = 0.0
        self.stopped: str | None = None

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a row, and a line to the file."""
        row = {"step": step, **metrics}
        self.rows.append(row)
        if self.path is not None:
            files.append_line(self.path, json.dumps(row))

    def last(self, name: str) -> float:
        """The latest value of a metric; KeyError with the names there are when it was never logged."""
        return self[name][1][-1]

    def state(self) -> dict[str, Any]:
        """The rows, for a checkpoint."""
        return {
            "rows": list(self.rows),
            "first_step_seconds": self.first_step_seconds,
            "stopped": self.stopped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to the rows of a checkpoint; the file is rewritten, so later rows are not there twice."""
        self.rows = [dict(row) for row in state["rows"]]
        self.first_step_seconds, self.stopped = state["first_step_seconds"], state["stopped"]
        if self.path is not None:
            files.write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def _names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "step"))

    def __getitem__(self, name: str) -> tuple[list[int], list[float]]:
        points = [(row["step"], row[name]) for row in self.rows if name in row]
        if not points:
            raise KeyError(f"no metric {name!r} was logged; there are {self._names()}")
        steps, values = zip(*points)
        return list(steps), list(values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"History({len(self.rows)} rows of {', '.join(self._names()) or 'nothing'})"
