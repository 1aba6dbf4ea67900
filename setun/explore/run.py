"""Workers by `dask.distributed`: processes of this machine, or a scheduler's machines."""

import concurrent.futures
import hashlib
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from setun.explore import evaluation, interrupts
from setun.explore.evaluation import Done, Rows
from setun.explore.work import Work, made_with, sources, tools
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.hw.fpga.flow.cache import digest

ANSWER_S = 10.0  # until a scheduler answers
WORKER_S = 60.0  # until there is a worker, at the start and later on
POLL_S = 5.0


def _distributed() -> ModuleType:
    """`distributed`, quiet: what it has to say comes as one line of this program."""
    try:
        import distributed
    except ImportError as error:
        raise SetunError(
            "distributed", "is needed to explore", error, "pip install 'setun[explore]'"
        ) from None
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"distributed\.")
    return distributed


class Workers:
    """Runs work. Nothing starts before there is some.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler, as tcp://HOST:8786; None starts processes here.
    jobs
        How many, then.
    image
        The model, which goes to each worker once.
    fpga
        Family of the FPGA, whose tools are asked for.
    text
        What losses are measured on.
    limit_s
        Seconds that a tool may take.
    """

    def __init__(
        self,
        scheduler: str | None,
        jobs: int,
        image: Image,
        fpga: str,
        *,
        text: Rows | None = None,
        limit_s: float = 3600.0,
    ) -> None:
        self.scheduler, self.jobs, self.image, self.fpga = scheduler, jobs, image, fpga
        self.text, self.limit_s = text, limit_s
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *what: object) -> None:
        with interrupts.waiting():
            self._stack.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        distributed = _distributed()
        if self.scheduler is None:
            with interrupts.waiting():
                try:
                    cluster = distributed.LocalCluster(
                        n_workers=self.jobs,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        scheduler_kwargs={"dashboard": False},
                        memory_limit=0,
                        silence_logs=logging.CRITICAL,
                    )
                except (RuntimeError, OSError) as error:  # its cause says why, where it has one
                    raise SetunError(
                        "workers",
                        "must start",
                        f"{error.__cause__ or error!r}",
                        "fewer --jobs",
                    ) from None
                self._stack.enter_context(cluster)
            with distributed.Client(cluster) as client:
                yield client
            return
        try:
            client = distributed.Client(self.scheduler, timeout=ANSWER_S)
        except (OSError, ValueError) as error:
            raise SetunError(
                f"scheduler {self.scheduler}",
                f"must answer within {ANSWER_S:g} s",
                " ".join(str(error).split())[:80],
                "dask scheduler",
            ) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKER_S)
            except TimeoutError:
                raise self._no_worker() from None
            yield client

    def _no_worker(self) -> SetunError:
        return SetunError(
            f"scheduler {self.scheduler or 'here'}",
            "must have a worker",
            f"none for {WORKER_S:g} s",
            f"dask worker {self.scheduler or ''}".strip(),
        )

    @property
    def client(self) -> Any:
        """The connection, made when it is first asked for."""
        if self._client is None:
            self._client = self._stack.enter_context(self._connection())
        return self._client

    def made_with(self, kind: str) -> dict[str, Any]:
        """Sources from here, and tools from where the work is done."""
        if self.scheduler is None or kind != "place":
            return made_with(kind, self.fpga)
        future = self.client.submit(tools, kind, self.fpga, pure=False)
        ((_, found),) = self._finished({future: None})
        return {"sources": sources(kind), "tools": found}

    def run(self, works: Sequence[Work], together: int = 1) -> Iterator[tuple[Work, Done]]:
        """Results of `works` as they come, so many of them a task.

        Work whose worker died more often than the scheduler allows comes back as failed.

        Raises
        ------
        SetunError
            A worker refused; the scheduler, or the last worker, went away.
        """
        if not works:
            return
        # Computed, not scattered: what a dead worker held is computed again.
        data = image_file.dump(self.image)
        key = f"setun-model-{hashlib.sha256(data).hexdigest()}"
        image = self.client.submit(evaluation.open_image, data, key=key)
        tasks = {}
        for k in range(0, len(works), together):
            batch = list(works[k : k + together])
            text = self.text if any(work.kind == "loss" for work in batch) else None
            future = self.client.submit(
                evaluation.evaluate,
                batch,
                image,
                text,
                self.limit_s,
                key=f"setun-{batch[0].kind}-{digest([work.key for work in batch])}",
                priority=-k,
            )
            tasks[future] = batch
        for future, found in self._finished(tasks):
            yield from zip(tasks[future], found, strict=True)

    def _finished(self, tasks: Mapping[Any, list[Work] | None]) -> Iterator[tuple[Any, Any]]:
        """Futures with what they hold, as they finish."""
        distributed = _distributed()
        pending, seen = set(tasks), time.monotonic()
        while pending:
            try:
                done, pending = distributed.wait(
                    pending, timeout=POLL_S, return_when="FIRST_COMPLETED"
                )
            except TimeoutError:
                seen = self._alive(seen)
                continue
            except concurrent.futures.CancelledError:
                raise self._lost() from None
            seen = time.monotonic()
            for future in done:
                try:
                    found = future.result()
                except distributed.KilledWorker:
                    batch = tasks[future]
                    if batch is None:
                        raise self._no_worker() from None
                    dead = {"failed": "its worker died, again and again"}
                    found = [Done(dead, 0.0, final=False)] * len(batch)
                except concurrent.futures.CancelledError:
                    raise self._lost() from None
                yield future, found

    def _alive(self, seen: float) -> float:
        """When there last was a worker; an error if that is long ago or nobody answers."""
        try:
            if self.client.scheduler_info()["workers"]:
                return time.monotonic()
        except (OSError, ValueError, TimeoutError):
            raise self._lost() from None
        if time.monotonic() - seen > WORKER_S:
            raise self._no_worker()
        return seen

    def _lost(self) -> SetunError:
        return SetunError(
            f"scheduler {self.scheduler or 'here'}",
            "must stay",
            "it went away",
            "run again: what is finished is kept",
        )
