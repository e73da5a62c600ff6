"""A process of a group ends with what is due at exit, and without taking the interpreter down."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys, threading, time, torch
from llava_ecg.train.leaving import leave
class Last:
    def __del__(self):
        print("down")
def late():
    time.sleep(0.2)
    print("thread")
last = Last()
if sys.argv[1] == "group":
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
atexit.register(lambda: print("due", torch.distributed.is_initialized()))
threading.Thread(target=late).start()
print("trained")
leave(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alone", 0), ["trained", "thread", "due False", "down"]),
        (("alone", 2), ["trained", "thread", "due False", "down"]),
        (("group", 0), ["trained", "thread", "due False"]),
        (("group", 2), ["trained", "thread", "due True"]),
    ],
)
def test_what_is_done_at_the_end(words: tuple[str, int], said: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (words[1], said), ended.stderr
