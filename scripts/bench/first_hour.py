"""Runs the commands of docs/first-hour.md as a reader would type them, and says how long each takes.

    python scripts/bench/first_hour.py                                     in this environment, from step 2 on
    python scripts/bench/first_hour.py --from_clone                        from a fresh clone, with its own environment
    python scripts/bench/first_hour.py --json scripts/bench/results/first_hour_cpu.json

Two CPU cores and 4 GB of memory will do; --from_clone needs the network and 3 GB of disk besides. Ends with the first
command that fails, and its last words.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "first-hour.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
HERE = "## 2."  # what stands above it gets the program, and what stands below it uses it
ITSELF = "scripts/bench/first_hour.py"
INSTALLS = "python -m pip install"
TYPED = "What is the heart rate?\n/audit\n/exit\n"  # into the chats; other commands read nothing


def main(words: list[str] | None = None) -> int:
    """Run the page, print a line for each command, and file the times if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--from_clone", action="store_true", help="begin with git clone, in a fresh environment")
    parser.add_argument("--json", type=Path, help="file for the times")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        lines = list(commands(PAGE.read_text(encoding="utf-8"), from_clone=asked.from_clone))
        times = run(lines, Path(folder), own=asked.from_clone)
    print(f"{sum(float(each['seconds']) for each in times):7.1f} s  together")
    if asked.json:
        asked.json.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
    return 0


def commands(page: str, *, from_clone: bool = False) -> Iterator[str]:
    """The lines that the page tells a reader to type, in its order, without the one that runs all of them.

    Args:
        page: its text.
        from_clone: those too that get and install the program.
    """
    begins = page.index(HERE)
    for block in BLOCK.finditer(page):
        for line in re.sub(r"\\\n *", "", block.group(1)).splitlines():
            gets = block.start() < begins or line.startswith(INSTALLS)
            if ITSELF not in line and (from_clone or not gets):
                yield line


def run(lines: list[str], folder: Path, *, own: bool = False) -> list[dict[str, str | float]]:
    """Run lines of a shell one after the other in a folder, and print each with its seconds.

    Args:
        lines: as a reader types them.
        folder: an empty one; what the page needs of the checkout is laid into it, unless the lines clone it.
        own: the lines make their own environment; else this Python's is used.

    Raises:
        SystemExit: a line failed; it says which, and its last words.
    """
    place = os.environ.copy()
    before = ""
    if own:
        place = {name: value for name, value in place.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    else:
        (folder / "playground").mkdir()
        shutil.copy(ROOT / "playground" / "make_toy.py", folder / "playground")
        place["PYTHONPATH"] = str(ROOT)
        place["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{place['PATH']}"
    times: list[dict[str, str | float]] = []
    for line in lines:
        typed = line.replace("git clone ADDRESS", f"git clone {ROOT}")
        began = time.monotonic()
        ended = subprocess.run(
            ["bash", "-c", f"{before}{typed}"],
            cwd=folder,
            env=place,
            input=TYPED,
            capture_output=True,
            text=True,
            check=False,
        )
        times.append({"command": line, "seconds": round(time.monotonic() - began, 1)})
        print(f"{times[-1]['seconds']:7.1f} s  {line if len(line) <= 100 else line[:97] + '...'}", flush=True)
        if ended.returncode:
            raise SystemExit(f"ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}")
        if line.startswith(("cd ", "source ")):  # of a shell that lasts
            before += f"{line} && "
    return times


if __name__ == "__main__":
    sys.exit(main())
