"""Caps and budgets: who may start, what is committed, and in which words it is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import AccountUse, Grant, Hours, Owner, Rate, owner_of
from researchflow_tmux.domain.attempt import Ended, Exited, Lost
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.projects import Project, User
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.policies.accounts.account import Bounds, bounds_of
from researchflow_tmux.policies.accounts.accounts import ASSUMED_S, LAUNCH_S, MOST_S, Accounts, Claims
from researchflow_tmux.policies.accounts.periods import spread
from researchflow_tmux.policies.accounts.settling import settled
from tests.unit.engine import samples

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
VISION, ANN = Owner("project", "vision"), Owner("user", "ann")
MONTH = "month 2026-11-01"
STOP_S = 36.0


def job(
    number: int = 1, *, gpus: int = 1, project: str | None = "vision", user: str | None = None, **needs: Any
) -> Job:
    made = samples.job(number, project=project, user=user)
    return replace(made, spec=replace(made.spec, request=ResourceRequest(gpus=gpus, **needs)))


def accounts(
    *, use: AccountUse | None = None, known_s: float | None = None, now: datetime = NOW, **bounds: Bounds
) -> Accounts:
    owners = {"vision": VISION, "ann": ANN}
    claims = Claims({owners[name]: each for name, each in bounds.items()}, stop_s=STOP_S, known_s=lambda _: known_s)
    uses = {owners[name]: use for name in bounds} if use is not None else {}
    return Accounts(claims, now=now, uses=uses, zone=UTC)


def refused(found: Accounts, one: Job) -> tuple[ReasonCode, str] | None:
    reason = found.refuses(found.claim(one))
    return None if reason is None else (reason.code, reason.text)


def used(gpu: float = 0.0, cpu: float = 0.0, memory: float = 0.0, period: str = MONTH) -> AccountUse:
    return AccountUse(settled={period: Hours(gpu=gpu, cpu=cpu, memory=memory)})


def test_who_has_no_account_is_never_refused() -> None:
    found = accounts(vision=Bounds(gpus=0))
    assert refused(found, job(project="text", user="bob")) is None
    assert found.book(job(project=None)) is None
    assert not Accounts()


@pytest.mark.parametrize(
    ("bounds", "has", "needs", "code", "text"),
    [
        (Bounds(gpus=4), Rate(gpus=4), {}, "cap", "project vision has 4 of 4 GPUs, 1 needed (max_gpus)"),
        (Bounds(cpus=8), Rate(cpus=8), {}, "cap", "project vision has 8 of 8 cores, 1 needed (max_cpus)"),
        (
            Bounds(memory_mib=16 * 1024),
            Rate(memory_mib=12 * 1024),
            {"memory_mib": 8 * 1024},
            "cap",
            "project vision has 12 of 16 GiB of memory, 8 GiB needed (max_memory)",
        ),
        (Bounds(gpus=1), Rate(), {"gpus": 2}, "impossible", "it needs 2 GPUs; project vision may have 1 (max_gpus)"),
        (Bounds(gpus=0), Rate(), {}, "impossible", "it needs 1 GPU; project vision may have 0 (max_gpus)"),
    ],
)
def test_caps(bounds: Bounds, has: Rate, needs: dict[str, Any], code: str, text: str) -> None:
    found = accounts(vision=bounds, use=AccountUse(running=has))
    assert refused(found, job(**needs)) == (code, text)


def test_what_uses_nothing_of_a_capped_resource_is_not_refused() -> None:
    has = AccountUse(running=Rate(gpus=4, cpus=4, memory_mib=1024))
    assert refused(accounts(vision=Bounds(gpus=4), use=has), job(gpus=0)) is None
    assert refused(accounts(vision=Bounds(memory_mib=1024), use=has), job()) is None


def test_starts_of_one_decision_count_for_project_and_user() -> None:
    found = accounts(vision=Bounds(gpus=2), ann=Bounds(gpus=3))
    assert found.book(job(1, user="ann")) == Grant(
        owners=("project vision", "user ann"), rate=Rate(gpus=1, cpus=1), at=NOW
    )
    found.book(job(2, gpus=2, project=None, user="ann"))
    assert refused(found, job(3, user="ann")) == (ReasonCode.CAP, "user ann has 3 of 3 GPUs, 1 needed (max_gpus)")
    assert refused(found, job(3)) is None


def test_a_job_with_a_time_limit_starts_if_all_of_it_is_there() -> None:
    two_gpus = job(gpus=2, time_limit_s=3600.0)
    assert refused(accounts(vision=Bounds(gpu=10.0), use=used(gpu=8.0)), two_gpus) is None
    found = accounts(vision=Bounds(gpu=10.0), use=used(gpu=8.1))
    text = "project vision has 1.9 of 10 left until 2026-12-01, 2 GPU-hours needed (gpu_hours)"
    assert refused(found, two_gpus) == (ReasonCode.BUDGET, text)
    reason = found.refuses(found.claim(two_gpus))
    assert reason is not None
    assert reason.until == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bounds", "needs", "text"),
    [
        (
            Bounds(gpu=1.5, period="week"),
            {"gpus": 2, "time_limit_s": 3600.0},
            "it needs up to 2 GPU-hours; project vision has 1.5 GPU-hours a week (gpu_hours)",
        ),
        (Bounds(gpu=0.0), {}, "the budget of project vision is 0 GPU-hours (gpu_hours)"),
        (Bounds(cpu=0.0), {"gpus": 0}, "the budget of project vision is 0 core-hours (cpu_hours)"),
        (
            Bounds(gpu=0.001, period="total"),
            {},
            "it needs up to 0.02 GPU-hours; project vision has 0.001 GPU-hours (gpu_hours)",
        ),
    ],
)
def test_what_no_period_can_hold_is_impossible(bounds: Bounds, needs: dict[str, Any], text: str) -> None:
    assert refused(accounts(vision=bounds), job(**needs)) == (ReasonCode.IMPOSSIBLE, text)


def test_a_job_longer_than_the_period_is_possible_where_each_period_has_enough() -> None:
    three_days = job(time_limit_s=3 * 86_400.0)
    found = accounts(vision=Bounds(gpu=24.0, period="day"))
    assert refused(found, three_days) is None
    grant = found.book(three_days)
    assert grant is not None
    assert grant.seconds == 3 * 86_400.0 + STOP_S + LAUNCH_S


def test_a_guess_never_asks_for_more_than_a_whole_budget() -> None:
    long = 20 * 3600.0
    assert refused(accounts(vision=Bounds(gpu=8.0), known_s=long), job()) is None
    grant = accounts(vision=Bounds(gpu=8.0), known_s=long).book(job())
    assert grant is not None
    assert grant.seconds == pytest.approx(8 * 3600.0)
    assert refused(accounts(vision=Bounds(gpu=8.0), known_s=long, use=used(gpu=0.1)), job()) is not None


def test_of_a_job_of_which_nothing_is_known_only_so_much_must_be_there_as_to_do_something() -> None:
    found = accounts(vision=Bounds(gpu=10.0), use=used(gpu=9.97))
    assert refused(found, job()) is None
    grant = found.book(job())
    assert grant is not None
    assert grant.seconds == pytest.approx(2 * STOP_S), "so much it needs to do something"
    assert refused(found, job(2)) is not None, "too little is left for a second one"
    some = accounts(vision=Bounds(gpu=10.0), use=used(gpu=8.0))
    booked = [some.book(job(each)) for each in range(3)]
    assert [each.seconds for each in booked if each is not None] == pytest.approx([1800.0, 1350.0, 1012.5]), (
        "each a quarter of what is left"
    )
    plenty = accounts(vision=Bounds(gpu=10.0)).book(job())
    assert plenty is not None
    assert plenty.seconds == ASSUMED_S + STOP_S


def test_the_scarcest_of_several_budgets_decides_and_is_named() -> None:
    found = accounts(vision=Bounds(gpu=100.0, memory=10.0), use=used(gpu=1.0, memory=9.0))
    code, text = refused(found, job(memory_mib=4096, time_limit_s=3600.0)) or (None, "")
    assert code is ReasonCode.BUDGET
    assert text == "project vision has 1 of 10 left until 2026-12-01, 4 GiB-hours needed (memory_hours)"


def test_a_grant_across_a_boundary_is_drawn_from_both_periods() -> None:
    evening = datetime(2026, 11, 30, 23, tzinfo=UTC)
    full = accounts(vision=Bounds(gpu=10.0), use=used(gpu=9.5), now=evening)
    assert refused(full, job(time_limit_s=2 * 3600.0)) is not None, "an hour of it falls into November"
    found = accounts(vision=Bounds(gpu=10.0), use=used(gpu=9.0), now=evening)
    grant = found.book(job(time_limit_s=2 * 3600.0))
    assert grant is not None
    account = found.get(VISION)
    assert account is not None
    assert account.taken(MONTH).gpu == pytest.approx(10.0)
    assert account.taken("month 2026-12-01").gpu == pytest.approx(1.0 + (STOP_S + LAUNCH_S) / 3600.0)


@given(
    budget=st.floats(0.01, 50.0),
    period=st.sampled_from(["day", "week", "month", "total"]),
    wanted=st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.floats(1.0, 400_000.0))), max_size=12),
    hour=st.integers(0, 23),
)
def test_what_is_granted_never_exceeds_a_budget(budget: float, period: Any, wanted: Any, hour: int) -> None:
    found = accounts(vision=Bounds(gpu=budget, period=period), now=NOW.replace(hour=hour))
    granted: dict[str, float] = {}
    for number, (gpus, limit_s) in enumerate(wanted):
        one = job(number, gpus=gpus, time_limit_s=limit_s)
        if found.refuses(found.claim(one)) is not None:
            continue
        grant = found.book(one)
        assert grant is not None
        for key, hours in spread(grant.rate, grant.at, grant.seconds or 0.0, UTC).items():
            granted[key] = granted.get(key, 0.0) + hours.gpu
    kinds = {key: hours for key, hours in granted.items() if key.startswith(period)}
    assert all(hours <= budget + 1e-6 for hours in kinds.values())


def test_settings_say_the_bounds() -> None:
    project = Project(
        max_gpus=4, max_cpus=8, max_memory="2GiB", gpu_hours=3.0, cpu_hours=2, memory_hours=1, period="day"
    )
    assert bounds_of(project) == Bounds(gpus=4, cpus=8, memory_mib=2048, gpu=3.0, cpu=2.0, memory=1.0, period="day")
    assert bounds_of(User(max_memory=512)) == Bounds(memory_mib=512)
    assert not bounds_of(User()).hourly
    assert bounds_of(project).hourly


def test_owners_are_read_as_they_are_written() -> None:
    assert owner_of(str(Owner("project", "a b"))) == Owner("project", "a b")
    for wrong in ("vision", "group x", "user "):
        with pytest.raises(ValueError, match="expected"):
            owner_of(wrong)


# -- settling ----------------------------------------------------------------------------------------------------------

GRANT = Grant(owners=("project vision",), rate=Rate(gpus=2), at=NOW, seconds=3600.0)


def charged(
    grant: Grant,
    outcome: Any,
    started_s: float | None,
    ended_s: float,
    ran_s: float | None,
    elapsed_s: float = float("inf"),
) -> float:
    ended = Ended(
        outcome=outcome,
        started_at=None if started_s is None else NOW + timedelta(seconds=started_s),
        ended_at=NOW + timedelta(seconds=ended_s),
        ran_s=ran_s,
    )
    return settled(grant, ended, elapsed_s, UTC).get("total", Hours()).gpu * 3600 / 2


@pytest.mark.parametrize(
    ("started_s", "ended_s", "ran_s", "seconds"),
    [
        (None, 5.0, None, 0.0),
        (1.0, 601.0, 600.0, 600.0),
        (1.0, -9000.0, 600.0, 600.0),
        (5000.0, 9.0, 600.0, 600.0),
        (-100.0, 500.0, 600.0, 600.0),
        (1.0, 3700.0, 3650.0, 3650.0),
    ],
)
def test_what_the_runner_says_counts_whatever_the_clock_did(
    started_s: float | None, ended_s: float, ran_s: float | None, seconds: float
) -> None:
    assert charged(GRANT, Exited(code=0, succeeded=True), started_s, ended_s, ran_s) == pytest.approx(seconds)


def test_what_was_granted_only_while_it_ran_counts_from_then_on() -> None:
    assert charged(GRANT, Exited(code=0, succeeded=True), -100.0, 500.0, 600.0, 501.0) == pytest.approx(501.0)


def test_what_was_lost_is_charged_with_all_it_may_have_used() -> None:
    assert charged(GRANT, Lost(), 1.0, -5.0, None, 600.0) == pytest.approx(600.0)
    assert charged(GRANT, Lost(), 1.0, 5.0, None, 90_000.0) == pytest.approx(3600.0), "its runner would have ended it"
    assert charged(GRANT, Lost(), 1.0, 5.0, None) == pytest.approx(3600.0), "the machine was restarted"
    endless = replace(GRANT, seconds=None)
    assert charged(endless, Lost(), 1.0, -5.0, None, 90_000.0) == pytest.approx(90_000.0)
    assert charged(endless, Lost(), 1.0, 700.0, None) == pytest.approx(700.0)


@given(
    started_s=st.floats(-100.0, 10_000.0),
    ran_s=st.floats(0.0, 3600.0),
    after_h=st.floats(0.0, 72.0),
)
def test_no_period_is_charged_more_than_it_was_granted(started_s: float, ran_s: float, after_h: float) -> None:
    grant = replace(GRANT, at=datetime(2026, 10, 30, tzinfo=UTC) + timedelta(hours=after_h))
    began = grant.at + timedelta(seconds=started_s)
    ended = Ended(outcome=Lost(), started_at=began, ended_at=began, ran_s=ran_s)
    granted = spread(grant.rate, grant.at, 3600.0, UTC)
    for key, hours in settled(grant, ended, float("inf"), UTC).items():
        assert hours.gpu <= granted.get(key, Hours()).gpu + 1e-9, "but for a microsecond at midnight"


@pytest.mark.parametrize("limit_s", [5e9, 1e12, 1e300])
@pytest.mark.parametrize("period", ["day", "month"])
def test_a_time_limit_of_ages_is_granted_a_year_at_once(limit_s: float, period: str) -> None:
    found = accounts(vision=Bounds(gpu=1000.0, period=period))  # type: ignore[arg-type]
    one = job(time_limit_s=limit_s)
    assert refused(found, one) is None
    grant = found.book(one)
    assert grant is not None
    assert grant.seconds == MOST_S + STOP_S + LAUNCH_S
