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
        "list what is plugged in: readers, towers, projectors, templates, guides, tasks",
        "llava-ecg list readers",
    )
    parser.add_argument("socket", nargs="?", choices=sorted(SOCKETS), help="one kind only")
    parser.set_defaults(run=run_list)


def run_list(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the names of every socket, or of one, and where each comes from; nothing of them is imported."""
    for kind in [arguments.socket] if arguments.socket else SOCKETS:
        registry = SOCKETS[kind]
        show(f"{kind}: {registry.summary}")
        width = max((len(name) for name in registry), default=0)
        for name in registry:
            show(f"  {name:{width}}  {registry.where(name)}")
    return 0
