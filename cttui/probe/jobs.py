"""Jobs: actions that take time. Progress while they run, their result or fault afterwards."""

import asyncio
import collections
import itertools
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cttui.model.faults import Fault, FaultError
from cttui.model.jobs import Job, Result

KEPT = 16
"""Finished jobs that Answers still carry."""


@dataclass(slots=True)
class Progress:
    """What a running job says of itself; the job writes, Answers read."""

    done: int = 0
    total: int = 0
    sentence: str = ""


class Jobs:
    """Every job of this probe. Jobs that fire or fill run one after another: their baselines must not mix."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[Result]] = {}
        self._progress: dict[int, tuple[str, Progress]] = {}
        self._finished: collections.deque[Job] = collections.deque(maxlen=KEPT)
        self._one_at_a_time = asyncio.Lock()

    def start(self, kind: str, work: Callable[[Progress], Awaitable[Result]], total: int = 0) -> int:
        """Run `work`; the job's number."""
        number = next(self._numbers)
        progress = Progress(total=total)

        async def run() -> Result:
            async with self._one_at_a_time:
                return await work(progress)

        task = asyncio.create_task(run(), name=f"{kind} {number}")
        self._tasks[number] = task
        self._progress[number] = (kind, progress)
        task.add_done_callback(lambda t: self._ended(number, t))
        return number

    def cancel(self, number: int) -> None:
        """Stop a job at its next step. Raises FaultError "no-job"."""
        task = self._tasks.get(number)
        if task is None:
            raise FaultError("no-job", f"Job {number} is not running.")
        task.cancel()

    def readings(self) -> list[Job]:
        """Running jobs and the last finished ones, oldest first."""
        running = [
            Job(id=n, kind=kind, state="running", done=p.done, total=p.total, sentence=p.sentence)
            for n, (kind, p) in self._progress.items()
        ]
        return [*self._finished, *running]

    @property
    def running(self) -> bool:
        """Whether any job runs."""
        return bool(self._tasks)

    async def stop(self) -> None:
        """Cancel everything and wait for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, number: int, task: "asyncio.Task[Result]") -> None:
        kind, p = self._progress.pop(number)
        del self._tasks[number]
        fault, result, state = None, None, "done"
        if task.cancelled():
            state = "cancelled"
        elif (error := task.exception()) is not None:
            state = "failed"
            if not isinstance(error, FaultError):
                traceback.print_exception(error)  # to stderr: the client keeps a probe's last words
            fault = (
                error.fault
                if isinstance(error, FaultError)
                else Fault("job", f"{kind} failed: {type(error).__name__}: {error}")
            )
        else:
            result = task.result()
        self._finished.append(
            Job(
                id=number,
                kind=kind,
                state=state,
                done=p.done,
                total=p.total,
                sentence=p.sentence,
                fault=fault,
                result=result,
            )
        )
