"""The benches for a GPU, in small on a CPU: the ways agree, results have what the documentation names, and the proof
sees what it should see."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SMALL = ("--preset", "tiny", "--device", "cpu", "--dtype", "float32", "--repeats", "1")
STANDS = {"preset", "device", "dtype", "seed", "attention", "llava-ecg", "torch", "cuda", "transformers", "git"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Name and flags -> the result."""
    monkeypatch.syspath_prepend(FOLDER)

    def run(name: str, *flags: str) -> dict[str, Any]:
        module = __import__(name)
        module.main([*SMALL, "--json", str(tmp_path / "found.json"), *flags])
        found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
        assert found.keys() >= STANDS
        return found

    yield run
    for name in [name for name in sys.modules if name.startswith("gpu_") or name == "train"]:
        del sys.modules[name]


def test_decode(bench: Any) -> None:
    found = bench("gpu_decode", "--places", "40", "--tokens", "12", "--no-static")
    assert found["same tokens"] == {"engine": 1.0, "transformers": 1.0}
    assert found["ratio"].keys() == {"transformers"} and found["of the roofline"] > 0
    assert found["attention"]["decode"] == "views"


def test_decode_in_8_bits(bench: Any) -> None:
    found = bench("gpu_decode", "--places", "40", "--tokens", "6", "--no-static", "--quantization", "w8a8")
    assert found["quantization"] == "w8a8" and found["same tokens"]["engine"] == 1.0


def test_first_token(bench: Any) -> None:
    found = bench("gpu_first_token", "--text", "20")
    assert found["same token"] and found["places"] > 600


def test_attention(bench: Any) -> None:
    found = bench("gpu_attention", "--batch", "3", "--context", "60", "--spread", "20")
    assert found["TB/s"].keys() == found["largest error"].keys() == {"views", "masked"}
    assert max(found["largest error"].values()) < 1e-5


def test_requests(bench: Any) -> None:
    found = bench("gpu_requests", "--requests", "8", "--slots", "3", "--batch", "4")
    for name in ("short", "reports"):
        assert set(found[name]["same tokens"].values()) == {1.0}
        assert found[name]["ratio"].keys() == {"padded batch", "one at a time"}
    assert found["one ECG"]["same tokens"] == 1.0


@pytest.mark.parametrize("name", ["gpu_decode", "gpu_first_token", "gpu_attention", "gpu_requests", "gpu_proof"])
def test_without_a_gpu_one_sentence(
    bench: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        __import__(name).main([])
    assert ended.value.code == 2 and "this needs a GPU, and torch sees none" in capsys.readouterr().err


def test_proof(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import gpu_proof as proof

    with pytest.raises(SystemExit):
        proof.main(["--device", "cpu"])
    assert "no kernel to look for on a CPU" in capsys.readouterr().err
    counts = {"void pytorch_flash::flash_fwd_kernel<...>": 32, "gemm": 3}
    assert proof.faults(counts, {"flash_fwd_kernel": 32}) == []
    counts = {"split_kv_attention": 31, "fmha_cutlassF_bf16_aligned_64x64_sm80": 1}
    assert proof.faults(counts, {"split_kv_attention": 32}) == [
        "split_kv_attention ran 31 times, 32 were expected",
        "fmha_cutlassF_bf16_aligned_64x64_sm80 ran, and should not",
    ]


def test_the_work_that_is_proved_runs(bench: Any) -> None:
    """On a CPU too, where no kernel is looked for."""
    import gpu_common as common
    import gpu_proof as proof

    model = common.language_model(common.parser(None).parse_args(SMALL))
    proof.decoding(model)()
    proof.training(model)()
