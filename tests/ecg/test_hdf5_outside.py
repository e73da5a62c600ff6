"""An HDF5 file reads nothing but itself, whatever it says of where its numbers lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.errors import InputError

h5py = pytest.importorskip("h5py", reason="needs h5py, which the extra formats brings")


@pytest.mark.parametrize("way", ["external", "virtual", "link", "soft link", "ids"])
def test_numbers_of_other_files_are_refused(way: str, tmp_path: Path) -> None:
    values = np.zeros((1, 4096, 12), np.float32) + np.sin(np.arange(4096) / 40)[None, :, None].astype(np.float32)
    (tmp_path / "secret.bin").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["tracings"], other["exam_id"] = values, [1]
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        if way == "external":
            where = [(str(tmp_path / "secret.bin"), 0, values.nbytes)]
            file.create_dataset("tracings", values.shape, dtype="f4", external=where)
        elif way == "virtual":
            layout = h5py.VirtualLayout(values.shape, "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "tracings", values.shape)
            file.create_virtual_dataset("tracings", layout)
        elif way == "soft link":
            file["there"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/")
            file["tracings"] = h5py.SoftLink("/there/tracings")
        elif way == "link":
            file["tracings"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/tracings")
        else:
            file["tracings"] = values
            file["exam_id"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/exam_id")
    with pytest.raises(InputError, match=r"lies in another file"):
        read(tmp_path / "a.hdf5")
    assert read(tmp_path / "other.hdf5").signal.shape[0] == 12
