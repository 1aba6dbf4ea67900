"""Orders carried out: jobs for a request's prompts, and what comes of them, in asyncio."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from setun.firmware.image.image import Image
from setun.serve.answer import Answer
from setun.serve.board import Board
from setun.serve.fields import Fields
from setun.serve.job import Failed, Finished, Job, News
from setun.serve.order import Order, read_order
from setun.serve.pool import NoBoard, Pool, QueueFull
from setun.serve.prompts import Prompts
from setun.serve.refusal import Refusal


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one client may ask for.

    body
        Bytes of a request.
    body_seconds
        For which a body may take to come.
    prompt
        Tokens of a prompt.
    tokens
        Of an answer.
    queue
        Answers that wait.
    silence
        Seconds after which a stream tells that it is alive.
    """

    body: int = 1 << 20
    body_seconds: float = 30.0
    prompt: int = 8192
    tokens: int = 1024
    queue: int = 64
    silence: float = 10.0


class Service:
    """A model, the boards that run it, and what is asked of them.

    Parameters
    ----------
    image, pool, boards
        The model, and what answers for it.
    limits
        Of requests.
    verify
        Whether every token is compared with the golden model's.
    kind
        The backend's name.
    """

    def __init__(
        self,
        image: Image,
        pool: Pool,
        boards: Sequence[Board],
        limits: Limits,
        *,
        verify: bool = False,
        kind: str = "golden",
    ) -> None:
        self.image, self.pool, self.boards, self.limits = image, pool, boards, limits
        self.verify, self.kind = verify, kind
        self.prompts = Prompts(image, limits.prompt)

    @property
    def fingerprint(self) -> str:
        """Of what decides an answer: the model and its arithmetic."""
        return f"setun_{self.image.model_hash}"

    def read(self, body: object, *, chat: bool) -> tuple[Order, list[list[int]], list[Answer]]:
        """What a body asks for: the order, the prompts' ids, an answer to fill for each choice.

        Takes a while for long prompts; any thread.
        """
        fields = Fields(body)
        most = self.limits.tokens
        order = read_order(fields, self.image.name, most, chat=chat, verify=self.verify)
        if chat:
            prompts = [self.prompts.chat(fields.get("messages"))]
        else:
            prompts = self.prompts.completion(fields.get("prompt"))
        places = sum(len(board.contexts) for board in self.boards)
        if len(prompts) * order.choices > self.limits.queue + places:
            raise _full()
        answers = [
            Answer(self.prompts.tokenizer, ids, order.stops)
            for ids in prompts
            for _ in range(order.choices)
        ]
        return order, prompts, answers

    def begin(
        self, order: Order, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]
    ) -> "Running":
        """Hand in the jobs of an order.

        Raises
        ------
        Refusal
            Too many wait already; no board is there.
        """
        running = Running(self.pool)
        for index, answer in enumerate(answers):
            ids, sampling = prompts[index // order.choices], order.seeded(index)
            told = functools.partial(running.deliver, index)
            job = Job(ids, order.count, sampling, answer, told, verify=order.verify)
            running.jobs.append(job)
        try:
            self.pool.submit(running.jobs)
        except QueueFull:
            raise _full() from None
        except NoBoard:
            why = "; ".join(f"{board.name}: {board.error}" for board in self.boards)
            raise unavailable(f"no chip is there: {why}") from None
        return running


class Running:
    """The jobs of one order while they are made; made in the event loop that hears of them."""

    def __init__(self, pool: Pool) -> None:
        self.jobs: list[Job] = []
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[int, News]] = asyncio.Queue()

    def deliver(self, index: int, item: News) -> None:
        """Take news of the job at `index`, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._news.put_nowait, (index, item))

    async def news(self) -> AsyncIterator[tuple[int, News]]:
        """News by the job's index until all are over; a failure is the last."""
        left = len(self.jobs)
        while left:
            index, item = await self._news.get()
            yield index, item
            if isinstance(item, Failed):
                return
            left -= isinstance(item, Finished)

    def close(self) -> None:
        """Cancel what is not over."""
        self._pool.cancel(self.jobs)
        for job in self.jobs:
            self._pool.tally.add("answers", label=job.outcome)
            self._pool.tally.add("cached_tokens", job.cached)


def unavailable(message: str) -> Refusal:
    """A chip that is not there, or was lost."""
    again = {"retry-after": "2"}
    return Refusal(503, message, kind="server_error", code="chip_unavailable", headers=again)


def _full() -> Refusal:
    message = "too many answers wait; try again later"
    again = {"retry-after": "1"}
    return Refusal(429, message, kind="rate_limit_error", code="queue_full", headers=again)
