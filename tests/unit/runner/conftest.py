from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runner.runner_harness import Attempts, making_attempts


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    with making_attempts(tmp_path) as made:
        yield made
