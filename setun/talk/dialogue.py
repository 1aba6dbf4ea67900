"""Messages of a chat as the ids that a context reads, turn by turn."""

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.models.chat import Chat
from setun.firmware.models.tokenizer import Tokenizer

OPTION = "--chat"
_ANSWER = "\u00a7answer\u00a7"


class Dialogue:
    """A chat as the model's template has it.

    What a context has read stays as it is: a turn adds what the template writes behind the latest
    answer.

    Raises
    ------
    SetunError
        The model has no chat template or no tokenizer.
    """

    def __init__(self, image: Image) -> None:
        if image.chat is None or image.tokenizer_json is None:
            lacking = "no chat template" if image.chat is None else "no tokenizer"
            fix = "leave it out: the model goes on with what it reads"
            raise SetunError(OPTION, "needs a model that was made for chats", lacking, fix)
        self._chat: Chat = image.chat
        self._tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
        self._messages: list[dict[str, str]] = []

    def ask(self, content: str, last: int | None = None) -> list[int]:
        """Ids that a message of the user adds, up to where the answer begins.

        Parameters
        ----------
        content
            What the user says.
        last
            The latest token of the context: of the end of a turn that the model has written itself,
            nothing is added.

        Raises
        ------
        SetunError
            A character is outside the vocabulary, or the template refuses the message.
        """
        asked = {"role": "user", "content": content}
        if not self._messages:
            ids = begun(self._chat, self._tokenizer, self._chat.render([asked]))
        else:
            marked = {"role": "assistant", "content": _ANSWER}
            text = self._chat.render([*self._messages[:-1], marked, asked])
            ids = self._tokenizer.encode(text.rpartition(_ANSWER)[2], begins=False)
            if ids[:1] == [last]:
                del ids[0]
        if not ids:
            raise SetunError("chat template", "must give the message at least one token", "none")
        self._messages += [asked, {"role": "assistant", "content": ""}]
        return ids

    def answered(self, text: str) -> None:
        """What the model has said."""
        self._messages[-1]["content"] = text


def begun(chat: Chat, tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of what `chat` has rendered; both tokenizer and template may write the first token."""
    ids = tokenizer.encode(text)
    doubled = text.startswith(chat.bos_token or "\0") and ids[:1] == ids[1:2]
    return ids[doubled:]
