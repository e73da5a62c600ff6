"""Numbers about the server in Prometheus' text format. They say how much and how long, never what or who."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
COUNTED = {
    "llava_ecg_requests_total": "Requests by route and status of HTTP.",
    "llava_ecg_tokens_total": "Tokens of prompts that were read and of answers.",
    "llava_ecg_memory_full_total": "How often slots were given up as memory was full.",
}
TIMED = {
    "llava_ecg_request_seconds": "From the last byte of a request for an answer to its end.",
    "llava_ecg_first_token_seconds": "From the last byte of a request for an answer to its first token.",
}
GAUGES = {
    "llava_ecg_slots": "Requests that are answered at once, at most.",
    "llava_ecg_slots_busy": "Requests that are being answered.",
    "llava_ecg_waiting": "Requests that wait for a slot.",
    "llava_ecg_in_flight": "Requests for an answer that are read, wait or are answered.",
    "process_resident_memory_bytes": "Memory of the process.",
}


class Metrics:
    """Counts and times; threads may write at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._times: dict[str, list[float]] = {name: [0.0] * (len(BUCKETS) + 2) for name in TIMED}

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count one of `COUNTED`."""
        told = ",".join(f'{key}="{value}"' for key, value in labels.items())
        with self._lock:
            self._counts[name, f"{{{told}}}" if told else ""] += count

    def time(self, name: str, seconds: float) -> None:
        """Note one of `TIMED`."""
        with self._lock:
            row = self._times[name]
            for place, limit in enumerate(BUCKETS):
                row[place] += seconds <= limit
            row[-2] += 1
            row[-1] += seconds

    def mean(self, name: str) -> float:
        """Of one of `TIMED`, s; 0 where nothing was noted."""
        with self._lock:
            row = self._times[name]
            return row[-1] / row[-2] if row[-2] else 0.0

    def text(self, gauges: Mapping[str, float]) -> str:
        """Everything, with what `GAUGES` are just now."""
        lines: list[str] = []
        with self._lock:
            for name, told in COUNTED.items():
                lines += [f"# HELP {name} {told}", f"# TYPE {name} counter"]
                rows = [(labels, count) for (each, labels), count in self._counts.items() if each == name]
                lines += [f"{name}{labels} {count}" for labels, count in sorted(rows)]
            for name, told in TIMED.items():
                row = self._times[name]
                lines += [f"# HELP {name} {told}", f"# TYPE {name} histogram"]
                lines += [f'{name}_bucket{{le="{at:g}"}} {int(n)}' for at, n in zip(BUCKETS, row, strict=False)]
                lines += [f'{name}_bucket{{le="+Inf"}} {int(row[-2])}', f"{name}_sum {row[-1]:.6f}"]
                lines.append(f"{name}_count {int(row[-2])}")
        for name, told in GAUGES.items():
            if name in gauges:
                lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", f"{name} {gauges[name]:g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int | None:
    """Memory of this process, where the system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
