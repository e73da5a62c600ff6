"""`Together`: many callers ask one `Assistant`, whose engine answers several at once in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llava_ecg.assistant import Answer, Asked, Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn


@dataclass
class _Waiting:
    """Somebody who waits for an answer."""

    asked: Asked | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Together:
    """Gathers questions and has them answered.

    Args:
        assistant: that answers.
        slots: at most so many at once.
    """

    def __init__(self, assistant: Assistant, slots: int) -> None:
        self.assistant, self.slots = assistant, slots
        self._ready: deque[_Waiting] = deque()
        self._active: list[_Waiting] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, turns: Sequence[Turn], case: Case, decoding: Decoding) -> Answer:
        """As `Assistant.ask`; called by many threads, each of which waits for its own answer and prepares its own
        question meanwhile.

        Raises:
            InputError: as there.
        """
        waiting = _Waiting()
        waiting.asked = self.assistant.prepare(Question(turns, case, waiting), decoding)
        with self._changed:
            self._ready.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="llava-ecg-eval", daemon=True)
                self._thread.start()
            self._changed.notify()
        waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error
        return self.assistant.answer(waiting.asked)

    def _work(self) -> None:
        while True:
            try:
                for asked, error in self.assistant.run(self._next(), slots=self.slots):
                    self._leave(asked.question.tag, error)
            except BaseException as error:  # whoever waits must hear of it, or waits for ever
                for each in list(self._active):
                    self._leave(each, error)

    def _next(self) -> Iterator[Asked | None]:
        """What is to be answered next; None where nothing waits and others are being answered."""
        while True:
            with self._changed:
                while not self._ready and not self._active:
                    self._changed.wait()
                waiting = self._ready.popleft() if self._ready else None
                if waiting is not None:
                    self._active.append(waiting)
            yield None if waiting is None else waiting.asked

    def _leave(self, waiting: _Waiting, error: BaseException | None) -> None:
        with self._changed:
            self._active.remove(waiting)
        waiting.error = error
        waiting.done.set()
