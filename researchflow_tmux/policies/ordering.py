"""Which of several GPUs that admit a job comes first. Unknown figures come last; the lower index breaks every tie."""

from __future__ import annotations

from collections.abc import Callable

from researchflow_tmux.domain.limits import BUILT_IN_ORDERS
from researchflow_tmux.policies.gpu_view import GpuView

Key = Callable[[GpuView], tuple[float, ...]]

UNKNOWN = float("inf")
DEFAULT = "spread"


def spread(view: GpuView) -> tuple[float, ...]:
    """The least loaded first: people expect balance."""
    return (view.used + view.others, len(view.jobs), view.device.index)


def pack(view: GpuView) -> tuple[float, ...]:
    """The fullest that still has room first, which keeps whole GPUs for jobs that need one."""
    return (-(view.used + view.others), -len(view.jobs), view.device.index)


def lowest_index(view: GpuView) -> tuple[float, ...]:
    """GPU 0 first."""
    return (view.device.index,)


def highest_index(view: GpuView) -> tuple[float, ...]:
    """The last GPU first; 0 often drives a screen."""
    return (-view.device.index,)


def most_free_memory(view: GpuView) -> tuple[float, ...]:
    """By memory that is neither used nor promised."""
    if view.total_mib is None or view.in_use_mib is None:
        return _measured(view, None)
    return _measured(view, view.in_use_mib - view.total_mib)


def least_utilised(view: GpuView) -> tuple[float, ...]:
    """By the average of the last minute, or by the last reading while that is not known."""
    now = None if view.reading is None else view.reading.util_pct
    return _measured(view, now if view.util_pct is None else view.util_pct)


def coolest(view: GpuView) -> tuple[float, ...]:
    """By temperature."""
    return _measured(view, None if view.reading is None else view.reading.temperature_c)


def least_power(view: GpuView) -> tuple[float, ...]:
    """By the power it draws."""
    return _measured(view, None if view.reading is None else view.reading.power_w)


def fewest_processes(view: GpuView) -> tuple[float, ...]:
    """By the number of processes on it, whosever they are."""
    return _measured(view, view.processes)


def _measured(view: GpuView, figure: float | None) -> tuple[float, ...]:
    # No measurement shows yet what this very decision starts: those GPUs come after the others.
    return (view.started, UNKNOWN if figure is None else figure, *spread(view))


_KEYS = (
    spread,
    pack,
    most_free_memory,
    least_utilised,
    fewest_processes,
    coolest,
    least_power,
    lowest_index,
    highest_index,
)
ORDERS: dict[str, Key] = dict(zip(BUILT_IN_ORDERS, _KEYS, strict=True))
"""The built-in orders, by the name that `gpu_order` takes."""


def is_custom(order: str) -> bool:
    """Whether it names a function of the user's (`module:function`)."""
    return ":" in order


def key_of(order: str) -> Key:
    """The key to sort by; a custom order goes by the ranks that it gave, and spreads where it gave none."""
    return _ranked if is_custom(order) else ORDERS.get(order, spread)


def _ranked(view: GpuView) -> tuple[float, ...]:
    return (UNKNOWN if view.rank is None else view.rank, *spread(view))
