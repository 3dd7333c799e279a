"""The values of a job that people change by hand while it waits or runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Setting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of these values; UNSET = not this one, None = that the job has none."""

    priority: int | UnsetType = UNSET
    deadline: datetime | UnsetType | None = UNSET
    project: str | UnsetType | None = UNSET
    preemptible: bool | UnsetType = UNSET
    time_limit_s: float | UnsetType | None = UNSET
    retries: int | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """Those that it has, by name."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in found.items() if value is not UNSET}


NOTHING = Setting()
