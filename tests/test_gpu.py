"""What only a GPU can show. Skipped without CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import simulate

from .test_assistant import folder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_cuda_gives_the_tokens_of_the_cpu(tmp_path: Path, letters: Any) -> None:
    path = str(folder(tmp_path, letters))
    texts = []
    for device in ("cpu", "cuda"):
        assistant = Assistant.open(path, device=device, dtype="float32")
        texts.append(
            assistant.ask([Turn("user", "Rhythm?")], Case(simulate(seed=1)[0]), Decoding(max_new_tokens=12)).text
        )
    assert texts[0] == texts[1]


def test_bfloat16_answers(tmp_path: Path, letters: Any) -> None:
    assistant = Assistant.open(str(folder(tmp_path, letters)), device="cuda")
    answer = assistant.ask([Turn("user", "Rhythm?")], Case(simulate(seed=1)[0]), Decoding(max_new_tokens=4))
    assert next(assistant.checkpoint.model.parameters()).dtype == torch.bfloat16
    assert answer.tokens["new"] == 4
