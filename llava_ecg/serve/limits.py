"""What one client may ask of the server, and how it is told no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_ecg.display import printable_line

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Sizes, counts and times beyond which a request is refused.

    Attributes:
        body: bytes of a request.
        held: bytes of all requests that are being read or wait.
        queue: requests that wait for a slot.
        messages: of one conversation.
        parts: files and images of one conversation.
        unpacked: bytes that an archive may unpack to.
        pixels: of one image; a page at 600 dpi has 35 million.
        seconds: a request may take, from its last byte to the end of its answer.
        head_seconds: until the header of a request is there.
        body_seconds: until all of its body is there.
        stall_seconds: a client may leave what was sent to it unread.
        grace_seconds: requests that are being answered get to finish when the server is told to stop.
    """

    body: int = 32 * MEBIBYTE
    held: int = 512 * MEBIBYTE
    queue: int = 256
    messages: int = 256
    parts: int = 16
    unpacked: int = 256 * MEBIBYTE
    pixels: int = 40_000_000
    seconds: float = 300.0
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    stall_seconds: float = 30.0
    grace_seconds: float = 30.0


@dataclass
class Refused(Exception):
    """A request that is not answered, and what its sender is told.

    Attributes:
        status: of HTTP.
        message: one sentence; what would steer a terminal is escaped in it, since words of the request stand there.
        param: the field of the request that is wrong.
        code: a word for programs.
        headers: more of the response.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.message = printable_line(self.message)

    @property
    def kind(self) -> str:
        """The error's type, as OpenAI names them."""
        named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return named.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def body(self) -> dict[str, Any]:
        """The response, in the shape of OpenAI's errors."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}


class Gone(Exception):
    """The client hung up."""
