"""The engine itself: works off what is in its inbox, one request after the other."""

import sys
from collections.abc import Callable

from DinoUNetCore.engine.channel import Channel
from DinoUNetCore.engine.inbox import PREPARE, Inbox
from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.models import Models
from DinoUNetCore.engine.progress import Loading
from DinoUNetCore.engine.reader import start_reading
from DinoUNetCore.engine.refusals import Cancelled, answer_to
from DinoUNetCore.engine.requests import (
    AddModel,
    DownloadModel,
    Hello,
    ListModels,
    PutModel,
    RemoveModel,
    Sample,
    Segment,
    Shutdown,
    Unload,
)
from DinoUNetCore.engine.streams import take_over
from DinoUNetCore.weights.license import accept

# torch and what stands on it are imported when they are first needed: the first answers come at once.


def serve() -> None:
    """Talk the protocol over standard input and output until the client has had enough; does not return."""
    incoming, outgoing = take_over()
    channel = Channel(outgoing)
    inbox = Inbox(channel)
    start_reading(incoming, inbox, channel)
    Server(channel, inbox).run()


class Server:
    """Runs in the main thread."""

    def __init__(self, channel: Channel, inbox: Inbox):
        self._channel, self._inbox = channel, inbox
        self._models = Models()
        self._work: dict[type, Callable[[Job], None]] = {
            Hello: self._hello,
            ListModels: self._list_models,
            AddModel: self._add_model,
            DownloadModel: self._download_model,
            RemoveModel: self._remove_model,
            PutModel: self._put_model,
            Segment: self._segment,
            Sample: self._sample,
            Unload: self._unload,
            Shutdown: self._shutdown,
        }

    def run(self) -> None:
        while True:
            job, step = self._inbox.next()
            try:
                if job.request.accept_license:
                    accept(remember=False)
                if step == PREPARE:
                    self._prepare(job)
                else:
                    self._work[type(job.request)](job)
            except Cancelled:
                pass
            except Exception as error:
                job.fail(*answer_to(error))

    def _hello(self, job: Job) -> None:
        from DinoUNetCore.engine.computer import devices, versions
        from DinoUNetCore.engine.protocol import VERSION

        job.finish({"protocol": VERSION, "versions": versions(), "devices": devices()})

    def _list_models(self, job: Job) -> None:
        job.finish(data=memoryview(self._models.listed()))

    def _add_model(self, job: Job) -> None:
        job.finish({"model": self._models.add(job.request.source, job.request.overwrite, Loading(job))})

    def _download_model(self, job: Job) -> None:
        job.finish(data=memoryview(self._models.download(job.request.repository, Loading(job))))

    def _remove_model(self, job: Job) -> None:
        self._models.remove(job.request.name)
        job.finish()

    def _put_model(self, job: Job) -> None:
        archive = bytes(job.take_data()[0])
        job.finish({"model": self._models.put(job.request.sha256, archive)})

    def _prepare(self, job: Job) -> None:
        self._models.find(job.request.sha256, job.request.name)  # what is missing is told before torch is loaded
        if "torch" not in sys.modules:
            job.progress(0.0, None, "loading")
        from DinoUNetCore.engine.segmentation import prepare

        prepare(job, self._models)

    def _segment(self, job: Job) -> None:
        from DinoUNetCore.engine.segmentation import segment

        segment(job, self._models)

    def _sample(self, job: Job) -> None:
        from DinoUNetCore.engine.sample import draw

        draw(job)

    def _unload(self, job: Job) -> None:
        self._models.unload()
        job.finish()

    def _shutdown(self, job: Job) -> None:
        job.finish()
        self._channel.leave(0)
