"""How one of several processes ends, once its training has."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

import torch


def leave(status: int) -> NoReturn:
    """End the process with an exit code; where it belongs to a group, without taking the interpreter down.

    A thread of gloo, torch's backend for the CPU, may still hold a tensor that Python knows when the interpreter goes
    down. On Python before 3.14 to give it back then aborts the process, and torchrun calls a finished run failed. To
    destroy the group waits for these threads only where nothing else holds the group, and shards and DDP hold it. So
    what is due at exit is done here, and the interpreter is left as it is.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        sys.exit(status)
    if status == 0:  # after an error another process may be waiting in the group
        distributed.destroy_process_group()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
