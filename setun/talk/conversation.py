"""A conversation with a chip: lines in, text out, one recurrent state from answer to answer."""

import time
from collections.abc import Iterator

from setun.backends.base import Sampling, check_context
from setun.backends.connect import ConnectedChip
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Reason
from setun.firmware.models.decoding import StreamDecoder
from setun.firmware.models.tokenizer import Tokenizer
from setun.talk.dialogue import Dialogue
from setun.talk.session import Result, prompt_ids

_ENDED = (Reason.COUNT, Reason.STOPPED, Reason.END_OF_TEXT, Reason.CONTEXT_FULL)


class Conversation:
    """What a context of the chip has read and said; begins with an empty state.

    The chip reads what stands on the screen: from the second line on, the break before it too
    where the tokenizer has one. Lines of a model without tokenizer are token ids, 1,2,3. With
    `chat` a line is a message, and the chip reads what the model's template makes of it.
    """

    def __init__(
        self, chip: ConnectedChip, image: Image, context: int = 0, chat: bool = False
    ) -> None:
        check_context(context, chip.config.contexts)
        self.chip = chip
        self.image = image
        self.context = context
        self._chat = chat
        self._stop_asked = self._stop_sent = False
        self._tokenizer: Tokenizer | None = None
        if image.tokenizer_json is not None:
            self._tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self._read: list[int] = []
        self._dialogue = Dialogue(self.image) if self._chat else None
        self.chip.client.stop(self.context)
        self.chip.client.reset(self.context)

    def stop(self) -> None:
        """End the answer under way; may be called from a signal handler."""
        self._stop_asked = True

    @property
    def stopped(self) -> bool:
        """Whether the latest answer was stopped."""
        return self._stop_asked

    def encode(self, line: str) -> list[int]:
        """Token ids that the line adds to the conversation; at least one."""
        if self._dialogue is not None:
            return self._dialogue.ask(line, self._read[-1] if self._read else None)
        if self._tokenizer is None:
            return prompt_ids(self.image, None, line)
        if not self._read:
            return prompt_ids(self.image, line, None)
        try:
            return self._tokenizer.encode("\n" + line, begins=False)
        except SetunError:
            return self._tokenizer.encode(line, begins=False)

    def answer(self, line: str, count: int, sampling: Sampling, result: Result) -> Iterator[str]:
        """Feed a line, then yield up to `count` tokens of text as they come; fill `result`.

        Raises
        ------
        PortGone
            The port is gone; the state with it, unless the chip is powered from elsewhere.
        SetunError
            The line cannot be read; the chip found its program damaged.
        """
        prompt = self.encode(line)
        try:
            yield from self._answer(prompt, count, sampling, result)
        finally:
            if self._dialogue is not None:
                self._dialogue.answered(result.text)

    def _answer(
        self, prompt: list[int], count: int, sampling: Sampling, result: Result
    ) -> Iterator[str]:
        self._stop_asked = self._stop_sent = False
        client, started = self.chip.client, time.monotonic()
        longest = client.longest_prompt
        for start in range(0, len(prompt), longest):
            if self._stop_asked:
                return
            part = prompt[start : start + longest]
            client.prompt(part, self.context)
            self._read += part
        decoder = StreamDecoder(self._tokenizer, self._read) if self._tokenizer else None
        ends = sampling.ends(self.image)
        for token in self.chip.generate(count, sampling, self.context, self._obey, ends):
            result.tokens.append(token)
            self._read.append(token)
            result.tokens_per_second = len(result.tokens) / max(time.monotonic() - started, 1e-9)
            text = f"{token} " if decoder is None else decoder.feed(token)
            result.text += text
            yield text
            self._obey()
        if decoder is not None and (rest := decoder.flush()):
            result.text += rest
            yield rest
        self._conclude(result)

    def _obey(self) -> None:
        if self._stop_asked and not self._stop_sent:
            self._stop_sent = True
            self.chip.client.stop(self.context)

    def _conclude(self, result: Result) -> None:
        done = self.chip.client.last_done
        if done is None or done.reason not in _ENDED:
            raise SetunError(
                "generation",
                "must end by its count, its text's end or a stop",
                done.why if done else "none",
                f"setun load M --port {self.chip.port} loads the model again",
            )
        result.reason = Reason(done.reason).name.lower()
        if result.tokens and done.cycles:
            result.cycles_per_token = done.cycles / len(result.tokens)
            result.chip_tokens_per_second = self.chip.config.clock_hz / result.cycles_per_token
