"""Waiting for jobs inside an event loop: one task looks for all that are awaited there, in a thread beside the loop."""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict

from researchflow_tmux.api.ends import FIRST_PAUSE_S, Ends, longer
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.job import JobState

_WATCHES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Watch]] = weakref.WeakKeyDictionary()


async def ended(workspace: Workspace, job_id: int) -> JobState:
    """The state in which the job has ended. Raises UsageError when it never can (see `Ends.look`)."""
    watches = _WATCHES.setdefault(asyncio.get_running_loop(), {})
    root = workspace.paths.root
    if root not in watches:
        watches[root] = _Watch(workspace)
    return await watches[root].ended(job_id)


class _Watch:
    """What is awaited in one loop of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._awaited: defaultdict[int, list[asyncio.Future[JobState]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    async def ended(self, job_id: int) -> JobState:
        future: asyncio.Future[JobState] = asyncio.get_running_loop().create_future()
        self._awaited[job_id].append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        return await future

    async def _watch(self) -> None:
        looking = Ends(self._workspace)
        pause_s = FIRST_PAUSE_S
        try:
            while self._still_awaited():
                looking.pending &= self._awaited.keys()  # some may have been cancelled
                looking.add(self._awaited)
                found = await asyncio.to_thread(looking.look)
                for job_id, state in found.items():
                    self._tell(job_id, state)
                pause_s = FIRST_PAUSE_S if found else longer(pause_s)
                await asyncio.sleep(pause_s)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            self._tell_all(error)
        finally:
            self._task = None  # whoever awaits from now on begins another
            looking.close()

    def _still_awaited(self) -> bool:
        for job_id in [job_id for job_id, futures in self._awaited.items() if all(each.done() for each in futures)]:
            del self._awaited[job_id]
        return bool(self._awaited)

    def _tell(self, job_id: int, state: JobState) -> None:
        for future in self._awaited.pop(job_id, ()):
            if not future.done():
                future.set_result(state)

    def _tell_all(self, error: Exception) -> None:
        for futures in list(self._awaited.values()):
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        self._awaited.clear()
