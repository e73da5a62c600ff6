"""What the benches of the engine share: flags for what runs where, what a result stands on, and its telling."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers


def parser(description: str | None) -> argparse.ArgumentParser:
    """With --model, --device, --dtype and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="gem-tiny")
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    made.add_argument("--json", type=Path, help="write the result here too")
    return made


def standing(arguments: argparse.Namespace) -> dict[str, Any]:
    """Model, machine and versions."""
    return {
        "model": arguments.model,
        "device": arguments.device if arguments.device == "cpu" else torch.cuda.get_device_name(),
        "machine": platform.machine(),
        "dtype": arguments.dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def tell(found: dict[str, Any], path: Path | None) -> None:
    """Print a result as JSON, and write it where that is asked for."""
    text = json.dumps(found, indent=2)
    print(text)
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")
