"""What has arrived and waits for the main thread. The reader thread fills it, and answers itself what needs no work."""

import threading
from collections import deque
from typing import Any

from DinoUNetCore.engine.channel import Channel
from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.protocol import Frame
from DinoUNetCore.engine.refusals import Refusal, answer_to
from DinoUNetCore.engine.requests import LARGEST_ID, Cancel, Segment, parse_request

MOST_WAITING = 64  # requests

PREPARE, WORK = "prepare", "work"
"""Steps of a job. A segmentation is prepared (its model is found and loaded) while its voxels arrive."""


class Inbox:
    """Steps of jobs, in the order in which their requests are complete."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._changed = threading.Condition()
        self._steps: deque[tuple[Job, str]] = deque()
        self._jobs: dict[int, Job] = {}  # those that have not ended, and perhaps some that just have
        self._last_id = 0

    def next(self) -> tuple[Job, str]:
        """Wait for something to do: a job that has not ended, and its step."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._steps)
                job, step = self._steps.popleft()
                if not job.ended:
                    return job, step

    def take(self, frame: Frame) -> None:
        """Understand a frame: queue a request, add data to one, cancel one, or answer that it cannot be used."""
        identity = frame.fields.get("id")
        if "request" not in frame.fields and "data" in frame.fields:
            self._take_data(identity, frame.fields["data"], frame.data)
            return
        if type(identity) is not int or not self._last_id < identity <= LARGEST_ID:
            self._refuse(None, Refusal("bad_request", f"a request needs a whole number above {self._last_id} as id."))
            return
        self._last_id = identity
        try:
            if frame.data:
                raise Refusal("bad_request", "a request carries no bytes itself; data frames follow it.")
            request = parse_request(identity, frame.fields)
            job = Job(request, self._channel)
            if isinstance(request, Cancel):
                self._cancel(request.target)
                job.finish()
            else:
                self._queue(job)
        except (Refusal, MemoryError) as error:
            self._refuse(identity, error)

    def _queue(self, job: Job) -> None:
        with self._changed:
            self._jobs = {identity: other for identity, other in self._jobs.items() if not other.ended}
            self._steps = deque(item for item in self._steps if not item[0].ended)
            if len(self._jobs) > MOST_WAITING:
                raise Refusal("busy", f"{MOST_WAITING} requests are waiting already; wait for their answers.")
            if job.request.parts and any(other.request.parts for other in self._jobs.values()):
                raise Refusal("busy", "the engine is at work for another request; wait for it, or cancel it.")
            self._jobs[job.request.id] = job
            if job.upload.complete:
                self._steps.append((job, WORK))
            elif isinstance(job.request, Segment):
                self._steps.append((job, PREPARE))
            self._changed.notify_all()

    def _take_data(self, identity: Any, number: Any, data: bytearray) -> None:
        if type(identity) is not int or not 0 < identity <= self._last_id:
            self._refuse(None, Refusal("bad_request", "there is data for a request that has not been made."))
            return
        job = self._jobs.get(identity)
        if job is None or job.ended:
            return
        try:
            if not job.request.parts:
                raise Refusal("bad_request", "the request takes no data.")
            was_complete = job.upload.complete
            job.upload.add(number, data)
        except (Refusal, MemoryError) as error:
            job.fail(*answer_to(error))
            return
        if job.upload.complete and not was_complete:
            with self._changed:
                self._steps.append((job, WORK))
                self._changed.notify_all()

    def _cancel(self, target: int) -> None:
        job = self._jobs.get(target)
        if job is not None:
            job.fail("cancelled", "cancelled.")

    def _refuse(self, identity: int | None, error: Exception) -> None:
        code, message = answer_to(error)
        self._channel.send({"id": identity, "event": "error", "code": code, "message": message})
