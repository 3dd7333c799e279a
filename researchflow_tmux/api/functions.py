"""`@job`: Python functions that run as jobs, by value.

By value: the function goes to the job as it is now, with its closure and with what it uses of the user's own modules.
The job needs none of these files, and changing them later changes nothing. Installed packages go by name.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

import researchflow_tmux

P = ParamSpec("P")
R = TypeVar("R")
H_co = TypeVar("H_co", covariant=True)


class Submits(Protocol[H_co]):
    """What takes jobs: a workspace."""

    def submit(self, command: Any, /, **options: Any) -> H_co:
        """Queue one."""
        ...


class Call(Generic[R]):
    """A function with its arguments, to be submitted; made by `JobFunction.job`."""

    __slots__ = ("args", "function", "kwargs", "options")

    def __init__(
        self, function: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = dict(kwargs)
        self.options = dict(options)
        """What `Workspace.submit` takes besides; what is said there wins."""

    @property
    def name(self) -> str:
        """What the job is called if nobody says otherwise: the function's name."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "lambda" if name == "<lambda>" else str(name)

    def __repr__(self) -> str:
        return f"<call of {self.name}>"


class JobFunction(Generic[P, R]):
    """A function that can run as a job. Calling it runs it here, as ever."""

    __name__: str
    """That of the function."""

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any]) -> None:
        self.function = function
        self.options = dict(options)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now."""
        return self.function(*args, **kwargs)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """This call as a job: for `Workspace.submit`, `submit_many` and pipelines."""
        return Call(self.function, args, kwargs, self.options)

    def submit(self, workspace: Submits[H_co], *args: P.args, **kwargs: P.kwargs) -> H_co:
        """Queue this call; the same as `workspace.submit(function.job(…))`."""
        return workspace.submit(self.job(*args, **kwargs))

    def having(self, **options: Any) -> JobFunction[P, R]:
        """The same function with other options: `train.having(gpus=2, name="big").job(0.1)`."""
        return JobFunction(self.function, {**self.options, **options})


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function one that can run as a job: `@job`, or `@job(gpus=1, time_limit="2h")`.

    Options are those of `Workspace.submit`. Raises UsageError for one that is none.

    Example:
        >>> @job(gpus=0)
        ... def double(number):
        ...     return 2 * number
        >>> double(21)
        42
        >>> double.job(21)
        <call of double>
    """
    from researchflow_tmux.api.wishes import check_options

    check_options(options)
    if function is None:
        return lambda function: JobFunction(function, options)
    return JobFunction(function, options)


_PICKLING = threading.Lock()


def _new_lock() -> None:
    global _PICKLING
    _PICKLING = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


class by_value:  # noqa: N801 - reads as what it does: `with by_value():`
    """Meanwhile cloudpickle takes what the user's own modules define by value. One thread at a time."""

    def __enter__(self) -> None:
        import cloudpickle

        _PICKLING.acquire()
        known = cloudpickle.list_registry_pickle_by_value()
        self._modules = [module for module in own_modules() if module.__name__ not in known]
        for module in self._modules:
            cloudpickle.register_pickle_by_value(module)

    def __exit__(self, *_: object) -> None:
        import cloudpickle

        try:
            for module in self._modules:
                cloudpickle.unregister_pickle_by_value(module)
        finally:
            _PICKLING.release()


def own_modules() -> list[Any]:
    """The loaded modules that the user wrote: neither of Python's library, nor installed, nor of this package."""
    places = _installed()
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and isinstance(file, str) and getattr(module, "__name__", None) == name:
            path = os.path.realpath(file)
            if path.endswith(".py") and not path.startswith(places):
                found.append(module)
    return found


@functools.lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Directories whose modules the job's Python finds by itself, because it is the same Python."""
    import site
    import sysconfig

    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(researchflow_tmux.__file__)}
    return tuple(os.path.realpath(place) + os.sep for place in places if place)
