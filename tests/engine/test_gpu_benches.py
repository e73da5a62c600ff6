"""The benches for a GPU, in small on a CPU: the ways agree, results have what the documentation names, and the proof
sees what it should see."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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


def ceilings_are_told(found: dict[str, Any]) -> None:
    """Before and after what was timed."""
    assert found["ceilings"].keys() == {"before", "after"}
    for each in found["ceilings"].values():
        assert each.keys() == {"TFLOP/s", "read TB/s", "copy TB/s"} and min(each.values()) > 0


def percent(found: dict[str, Any], ways: set[str]) -> None:
    """Of both ceilings, of each way."""
    told = found["percent of the ceilings"]
    assert told.keys() == ways
    for each in told.values():
        assert each.keys() == {"TFLOP/s", "read TB/s"} and min(each.values()) > 0


def test_decode(bench: Any) -> None:
    found = bench("gpu_decode", "--places", "40", "--tokens", "12", "--no-static")
    assert found["same tokens"] == {"engine": 1.0, "transformers": 1.0}
    assert found["ratio"].keys() == {"transformers"} and found["of the roofline"] > 0
    assert found["attention"]["decode"] == "views"
    ceilings_are_told(found)


def test_decode_in_8_bits(bench: Any) -> None:
    found = bench("gpu_decode", "--places", "40", "--tokens", "6", "--no-static", "--quantization", "w8a8")
    assert found["quantization"] == "w8a8" and found["same tokens"]["engine"] == 1.0


def test_first_token(bench: Any) -> None:
    found = bench("gpu_first_token", "--text", "20")
    assert found["same token"] and found["places"] > 600
    ceilings_are_told(found)
    percent(found, {"engine", "transformers"})


def test_attention(bench: Any) -> None:
    found = bench("gpu_attention", "--batch", "3", "--context", "60", "--spread", "20")
    assert found["TB/s"].keys() == found["largest error"].keys() == {"views", "masked"}
    assert max(found["largest error"].values()) < 1e-5
    ceilings_are_told(found)
    percent(found, {"views", "masked"})


def test_requests(bench: Any) -> None:
    found = bench("gpu_requests", "--requests", "8", "--slots", "3", "--batch", "4")
    for name in ("short", "reports"):
        assert set(found[name]["same tokens"].values()) == {1.0}
        assert found[name]["ratio"].keys() == {"padded batch", "one at a time"}
        percent(found[name], {"engine", "padded batch", "one at a time"})
    assert found["one ECG"]["same tokens"] == 1.0
    percent(found["one ECG"], {"reading all", "using it again"})
    ceilings_are_told(found)


def test_operations_are_those_that_torch_counts(bench: Any) -> None:
    """But for attention, of which torch counts what the mask hides too."""
    import gpu_common as common

    model = common.language_model(common.parser(None).parse_args(SMALL))
    (values,) = common.prompts(model, 1, 20, 1)
    counted = common.counted_flop(lambda: common.generate(model, values[None], 4))
    attention = 4 * model.config.num_hidden_layers * model.config.hidden_size
    hidden = attention * 20 * 19 / 2
    assert counted == common.answer_flop(model, 20, 4) + hidden
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    with torch.no_grad():
        size = common.counted_flop(lambda: layer(torch.randn(1, 5, 8)))
    assert size == 2 * 5 * (4 * 8 * 8 + 2 * 8 * 16) + 4 * 5 * 5 * 8 and torch.backends.mha.get_fastpath_enabled()
    rest = common.answer_flop(model, 20, 4, known=15) + common.answer_flop(model, 15, 1)
    head = 2 * model.config.hidden_size * model.config.vocab_size
    assert rest == common.answer_flop(model, 20, 4) + head, "in two parts, with scores of the first one's end"


def test_bytes_that_answers_read(bench: Any) -> None:
    import gpu_common as common

    model = common.language_model(common.parser(None).parse_args(SMALL))
    place = 2 * 2 * 64 * 4  # keys and values of two layers in float32
    weights = sum(each.numel() for each in model.parameters()) * 4 - 512 * 64 * 4
    assert common.answers_read(model, 5, 2, 10, 3) == 3 * 3 * weights + 5 * (11 + 12) * place
    limits = common.Ceilings("cpu")
    limits.before = {"TFLOP/s": 2.0, "read TB/s": 0.5}
    assert limits.percent(2.0, flop=1e12, read=1e11) == pytest.approx({"TFLOP/s": 25.0, "read TB/s": 10.0})
    assert limits.percent(2.0, read=1e11).keys() == {"read TB/s"}


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
