"""What `llava-ecg measure` loads: libraries whose import takes longer than all the measuring stay out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves import net

SLOW = ("torch", "scipy.signal", "scipy.stats", "scipy.ndimage", "sleepecg", "pandas", "wfdb", "pydicom")


def test_an_ordinary_recording_is_measured_without_scipy_and_sleepecg(tmp_path: Path) -> None:
    """Importing them took 0.8 of the 1.4 s of the whole command."""
    recording, _ = simulate(Heart(rate_bpm=72, mains_mv=0.1, muscle_mv=0.01), seed=1, rate=400.0)
    file = tmp_path / "ecg.npy"
    np.save(file, recording.signal)
    code = (
        "import sys, runpy\n"
        "sys.argv = ['llava-ecg', 'measure', sys.argv[1], '--rate', '400', '--unit', 'mV', '--leads', 'standard']\n"
        "try:\n    runpy.run_module('llava_ecg', run_name='__main__')\n"
        "except SystemExit as stopped:\n    assert not stopped.code, stopped.code\n"
        f"print('loaded', [name for name in {SLOW} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert "heart rate" in done.stdout and done.stdout.strip().endswith("loaded []")


def test_no_matrix_product_of_the_network_is_large_enough_for_threads() -> None:
    """OpenBLAS shares a product among threads from 2^18 multiplications on; they wait by spinning, so that the command
    took 1.3 to 2 times its processor time. Both ways give the same numbers."""
    rng = np.random.default_rng(0)
    for outward, inward, taps, length in ((16, 2, 7, 5000), (64, 64, 5, 970), (48, 112, 5, 1900), (16, 16, 1, 1250)):
        weight = rng.standard_normal((outward, inward, taps)).astype(np.float32)
        row = rng.standard_normal((inward, length + taps - 1)).astype(np.float32)
        plain = sum(weight[:, :, tap] @ row[:, tap : tap + length] for tap in range(taps))
        np.testing.assert_allclose(net.products(weight, row, length), plain, atol=2e-3)
