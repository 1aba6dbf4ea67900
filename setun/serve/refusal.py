"""Errors as the API has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Json = dict[str, object]


@dataclass
class Refusal(Exception):
    """A request that is not served.

    Parameters
    ----------
    status
        Of HTTP.
    message
        What is wrong, and what to do.
    kind
        The API's `type`.
    param, code
        The field that is wrong, and a word for programs; None where there is none.
    headers
        Of the reply.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> Json:
        """The error object."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}


def wrong(param: str, message: str, code: str | None = None) -> Refusal:
    """A field that is wrong."""
    return Refusal(400, message, param=param, code=code)
