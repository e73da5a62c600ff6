"""The engine `RayData`: chunks worked on by Ray Data, on this machine or on a cluster.

Every machine needs this package, and the recordings, the facts and the pages under the same paths (a shared file
system): only chunks and lines travel. Ray is asked to send no statistics of its use.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from llava_ecg.errors import InputError
from llava_ecg.instruct.chunks import Chunk, Part
from llava_ecg.instruct.engines import Work

_WAVE = 4096  # chunks that Ray Data is handed at a time; each is a block of its own, so that it comes back by itself
_REACH_S = 10.0


class RayData:
    """Chunks on Ray.

    Args:
        address: of a cluster, such as ``auto`` or ``ray://host:10001``; None starts Ray on this machine alone.
        count: chunks that are worked on at once, and, without a cluster, the cores that are used; None leaves it to
            Ray.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, count: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray.data  # noqa: F401
        except ImportError as error:
            raise InputError(
                f'--engine ray needs Ray ({error}); install it with pip install "llava-ecg[ray]"'
            ) from error
        self.address, self.count = address, count

    def run(self, work: Work, chunks: Iterable[Chunk]) -> Iterator[Part]:
        """See `llava_ecg.instruct.engines.Engine`."""
        import ray
        import ray.data

        begun = self._connect()
        try:
            context = ray.data.DataContext.get_current()
            context.execution_options.preserve_order = True
            context.enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            held = ray.put(work)
            left = iter(chunks)
            while wave := list(islice(left, _WAVE)):
                rows = [{"chunk": pickle.dumps(chunk)} for chunk in wave]
                blocks = ray.data.from_items(rows, override_num_blocks=len(rows))
                done = blocks.map(_work, fn_kwargs={"held": held}, num_cpus=1, concurrency=self.count)
                for row in done.iter_rows():
                    yield _part(row)
        except ray.exceptions.RayError as error:
            raise InputError(
                f"Ray gave up ({_first(error)}); what is done is kept, and the same command goes on there"
            ) from error
        finally:
            if begun:
                ray.shutdown()

    def _connect(self) -> bool:
        """Whether Ray was begun here."""
        import ray

        if ray.is_initialized():
            return False
        _reach(self.address)
        own: dict[str, Any] = {} if self.address else {"num_cpus": self.count, "include_dashboard": False}
        try:
            ray.init(address=self.address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"Ray can't be begun at {self.address or 'this machine'}: {_first(error)}") from error
        return True


def _reach(address: str | None) -> None:
    """Refuse at once a host and port at which nobody listens; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"there is no Ray cluster at {address} ({error}); is its address right?") from error


def _work(row: dict[str, Any], held: Any) -> dict[str, Any]:
    """In a process of Ray: a row with a chunk -> one with its part, or with the sentence of what the user has to put
    right."""
    import ray

    try:
        return {"part": pickle.dumps(ray.get(held)(pickle.loads(row["chunk"]))), "error": ""}
    except InputError as error:
        return {"part": b"", "error": str(error)}


def _part(row: dict[str, Any]) -> Part:
    if row["error"]:
        raise InputError(row["error"])
    part: Part = pickle.loads(row["part"])
    return part


def _first(error: BaseException) -> str:
    """The first line of what Ray says, which is long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
