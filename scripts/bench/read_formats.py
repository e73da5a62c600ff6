"""How long reading a file takes, its format recognised and its voltages checked, against the format's own library
called directly on the same file, in turns in one process.

Hardware: any CPU, one core is used. Time: a minute. Memory: 0.5 GB. Needs the extra ``formats``.

    OMP_NUM_THREADS=1 python scripts/bench/read_formats.py --files ../shared/data/formats --json read_formats.json

A simulated recording of ten seconds and twelve leads is written in the formats that can be. Files that can't be read
are passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.write import written
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError


def dicom(path: Path) -> Any:
    """pydicom."""
    import pydicom

    data = pydicom.dcmread(path)
    return [data.waveform_array(number) for number in range(len(data.WaveformSequence))]


def edf(path: Path) -> Any:
    """edfio."""
    import edfio

    return [each.data for each in edfio.read_edf(path, header_encoding="latin-1").signals]


def hdf5(path: Path) -> Any:
    """h5py."""
    import h5py

    with h5py.File(path) as file:
        return np.asarray(file["tracings"][0])


def parquet(path: Path) -> Any:
    """pyarrow."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, use_threads=False)
    return [column.to_numpy() for column in table.columns]


def wfdb_(path: Path) -> Any:
    """wfdb."""
    import wfdb

    return wfdb.rdsamp(str(path.with_suffix("")))[0]


def npz(path: Path) -> Any:
    """numpy."""
    with np.load(path) as arrays:
        return arrays["signal"]


def csv(path: Path) -> Any:
    """numpy."""
    return np.loadtxt(path, delimiter=",", skiprows=1)


def vendor(path: Path) -> Any:
    """ecgdatakit."""
    from ecgdatakit.parsing import parsers  # noqa: F401
    from ecgdatakit.parsing.parser import FileParser

    return FileParser.parse(path)


LIBRARIES: dict[str, Callable[[Path], Any]] = {
    ".hea": wfdb_,
    ".dcm": dicom,
    ".edf": edf,
    ".hdf5": hdf5,
    ".parquet": parquet,
    ".npz": npz,
    ".csv": csv,
    ".xml": vendor,
}


def made(folder: Path) -> list[Path]:
    """One recording in each format that can be written."""
    import h5py
    import pyarrow
    import pyarrow.parquet

    recording = simulate(Heart(rate_bpm=72), seed=1)[0].select(STANDARD)
    found = [folder / f"simulated{suffix}" for suffix in (".hea", ".dcm", ".edf", ".npz", ".csv")]
    for path in found:
        for place, content in written(recording, path).items():
            place.write_bytes(content)
    with h5py.File(folder / "simulated.hdf5", "w") as file:
        file["tracings"] = recording.signal.T[None].astype(np.float32)
    leads = dict(zip(recording.leads, recording.signal, strict=True))
    table = pyarrow.table(leads).replace_schema_metadata({"rate": "500", "unit": "mV"})
    pyarrow.parquet.write_table(table, folder / "simulated.parquet")
    return [*found, folder / "simulated.hdf5", folder / "simulated.parquet"]


def timed(call: Callable[[Path], Any], path: Path) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    call(path)
    return 1000 * (time.perf_counter() - begin)


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Medians of both, and of their ratio."""
    library = LIBRARIES[path.suffix.lower()]
    ways: dict[str, Callable[[Path], Any]] = {"ours": read, "library": library}
    for way in ways.values():
        way(path)
    taken = [{name: timed(way, path) for name, way in ways.items()} for _ in range(rounds)]
    return {
        "library": (library.__doc__ or "").strip("."),
        "ms": {name: round(statistics.median(each[name] for each in taken), 2) for name in ways},
        "ratio": round(statistics.median(each["ours"] / each["library"] for each in taken), 2),
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--files", type=Path, help="folder of files to read as well")
    parser.add_argument("--rounds", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        given = sorted(options.files.iterdir()) if options.files else []
        for path in [*made(Path(folder)), *(each for each in given if each.suffix.lower() in LIBRARIES)]:
            try:
                rows[path.name] = compare(path, options.rounds)
            except InputError as error:
                print(f"passed over: {error}")
                continue
            one = rows[path.name]
            print(
                f"{path.name:<50} {one['library']:<12}{one['ms']['ours']:9.2f}{one['ms']['library']:9.2f} ms "
                f"{one['ratio']:6.2f}"
            )
    if options.json:
        told = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "files": rows}
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
