"""WHERE clauses of optional filters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from researchflow_tmux.adapters.sqlite_rows import to_json


class Where:
    """Conditions that all hold; a filter of None is no condition."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def __str__(self) -> str:
        return "WHERE " + " AND ".join(self.conditions) if self.conditions else ""

    def _compare(self, column: str, operator: str, value: Any) -> None:
        if value is not None:
            self.conditions.append(f"{column} {operator} ?")
            self.values.append(value)

    def equal(self, column: str, value: Any) -> None:
        """The column has this value."""
        self._compare(column, "=", value)

    def above(self, column: str, value: Any) -> None:
        """The column is greater."""
        self._compare(column, ">", value)

    def from_on(self, column: str, value: Any) -> None:
        """The column is greater or equal."""
        self._compare(column, ">=", value)

    def among(self, column: str, values: Collection[Any] | None) -> None:
        """The column has one of these values."""
        # One JSON array instead of many parameters: their number has a limit.
        if values is not None:
            self.conditions.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608 - column names of this package
            self.values.append(to_json(list(values)))


def limited(query: str, values: Sequence[Any], limit: int | None) -> tuple[str, Sequence[Any]]:
    """The last `limit` rows, in descending order; without a limit all, ascending."""
    return (query, values) if limit is None else (f"{query} DESC LIMIT {limit:d}", values)
