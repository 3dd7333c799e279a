"""Whatever happens to a table and its jobs: the counts are right, and no byte of the user's changes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from researchflow_tmux.domain.job import JobState
from tests.unit.adapters.tables.desk import Desk

NUMBERS = st.integers(0, 4)


class History(RuleBasedStateMachine):
    """`rows` is what the table must say: name → [run_num, need_run_num, quotes]."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="rft-")
        self.desk = Desk(Path(self._folder.name))
        self.path = Path(self._folder.name) / "jobs" / "todo.csv"
        self.lock = self.path.with_name(".~lock.todo.csv#")
        self.rows: dict[str, list[int]] = {}
        self.given_up: set[str] = set()
        self.made = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    # -- the table

    def render(self) -> str:
        lines = [f'{name},"{run}",{need}, "a {name}" ,echo {name}' for name, (run, need) in self.rows.items()]
        return "\r\n".join(["name,run_num,need_run_num,note,cmd", *lines]) + "\r\n"

    def save(self) -> None:
        """As a spreadsheet does that says that it has the file open: what is not counted yet is counted later."""
        self.path.write_bytes(self.render().encode())

    @initialize(needs=st.lists(NUMBERS, min_size=1, max_size=3))
    def begin(self, needs: list[int]) -> None:
        for need in needs:
            self.add(need)
        self.save()
        self.desk.look()

    def add(self, need: int) -> None:
        self.made += 1
        self.rows[f"r{self.made}"] = [0, need]

    # -- the user

    @rule(need=NUMBERS)
    def adds_a_row(self, need: int) -> None:
        self.add(need)
        self.save()

    @rule(data=st.data(), need=NUMBERS)
    def wants_another_number(self, data: st.DataObject, need: int) -> None:
        if self.rows:
            self.rows[data.draw(st.sampled_from(sorted(self.rows)))][1] = need
            self.save()

    @rule(data=st.data(), run=NUMBERS)
    def sets_what_ran(self, data: st.DataObject, run: int) -> None:
        if self.rows:
            self.rows[data.draw(st.sampled_from(sorted(self.rows)))][0] = run
            self.save()

    @rule()
    def sorts(self) -> None:
        self.rows = dict(sorted(self.rows.items(), reverse=True))
        self.save()

    @rule(data=st.data())
    def deletes_a_row(self, data: st.DataObject) -> None:
        if self.rows:
            del self.rows[data.draw(st.sampled_from(sorted(self.rows)))]
            self.save()

    # -- the scheduler

    @rule()
    def looks(self) -> None:
        self.desk.look()

    @rule()
    def is_killed(self) -> None:
        self.desk.restart()
        self.desk.look()

    @rule(data=st.data(), fails=st.booleans())
    def runs_a_job(self, data: st.DataObject, fails: bool) -> None:
        names = self.desk.waiting()
        if names:
            name = data.draw(st.sampled_from(names))
            row = name.partition("#")[0]
            if fails:
                self.given_up.add(row)
            elif row in self.rows:
                self.rows[row][0] += 1
            self.desk.run(name, JobState.FAILED if fails else JobState.SUCCEEDED)

    @precondition(lambda self: not self.lock.exists())
    @rule(data=st.data())
    def a_job_ends_while_the_table_is_open(self, data: st.DataObject) -> None:
        names = [name for name in self.desk.waiting() if name.partition("#")[0] in self.rows]
        if names:
            name = data.draw(st.sampled_from(names))
            self.lock.touch()
            before = self.path.read_bytes()
            self.desk.run(name)
            assert self.path.read_bytes() == before
            self.desk.restart()
            assert self.path.read_bytes() == before
            self.lock.unlink()
            self.rows[name.partition("#")[0]][0] += 1
            self.desk.look()

    # -- what holds

    @invariant()
    def the_table_says_what_ran_and_nothing_else_has_changed(self) -> None:
        if self.rows or self.path.exists():
            assert self.path.read_bytes() == self.render().encode()

    @invariant()
    def each_row_has_the_jobs_it_needs(self) -> None:
        if not self.path.exists():
            return
        self.desk.look()
        waiting = [name.partition("#")[0] for name in self.desk.waiting()]
        for name, (run, need) in self.rows.items():
            wanted = max(need - run, 0)
            if name in self.given_up:
                assert waiting.count(name) <= wanted
            else:
                assert waiting.count(name) == wanted
        assert set(waiting) <= set(self.rows)


TestAnyHistory = History.TestCase
TestAnyHistory.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
