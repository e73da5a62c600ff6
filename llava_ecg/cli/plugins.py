"""``llava-ecg list``: what is plugged in."""

from __future__ import annotations

import argparse
from typing import Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.plugins import SOCKETS
from llava_ecg.terminal import show


def add(commands: Any) -> None:
    """Declare ``list``."""
    parser = flags.command(
        commands,
        "list",
        "list what is plugged in, its origin, and whether it can be used: readers, towers, data sets, tasks, ...",
        "llava-ecg list readers",
    )
    parser.add_argument("socket", nargs="?", choices=sorted(SOCKETS), help="one kind only")
    parser.set_defaults(run=run_list)


def run_list(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the parts of every socket, or of one: the name, the package and version that bring it, whether it can be
    used, and where it is. Only what is installed from outside is imported."""
    for kind in [arguments.socket] if arguments.socket else SOCKETS:
        registry = SOCKETS[kind]
        show(f"{kind}: {registry.summary}")
        parts = list(registry.listed())
        names = max((len(part.name) for part in parts), default=0)
        origins = max((len(part.origin) for part in parts), default=0)
        for part in parts:
            status = "ok" if part.fault is None else f"can't be used: {part.fault}"
            show(f"  {part.name:{names}}  {part.origin:{origins}}  {part.where}  {status}")
        if not parts:
            show("  none is installed; docs/extending.md says how a package brings one")
    return 0
