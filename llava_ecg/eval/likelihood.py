"""`likelihoods`: how likely each of some answers is to a model, from one pass over all of them.

Axes: K answers, S places of the question, M tokens of the longest answer, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import log_softmax, pad

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case
from llava_ecg.data import batch
from llava_ecg.data.conversation import Turn
from llava_ecg.errors import InputError
from llava_ecg.processor import Inputs


@torch.no_grad()
def likelihoods(assistant: Assistant, turns: Sequence[Turn], case: Case, answers: Sequence[str]) -> dict[str, float]:
    """Answer -> its probability as the beginning of the model's answer, over the sum for all of them.

    Args:
        assistant: the model.
        turns, case: what is asked, as `Assistant.ask` takes it.
        answers: at least one; each a text.

    Raises:
        InputError: no answer, one without a token, or what `Assistant.ask` raises of the question.
    """
    model: Any = assistant.checkpoint.model
    ids = [assistant.checkpoint.tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
    if not ids or not all(ids):
        raise InputError(f"likelihoods are of texts, and there is none or an empty one: {', '.join(answers) or '-'}")
    places = [each.sources(assistant.processor.derive) for each in (case, *case.more)]
    sample, _ = assistant.processor.encode(turns, *places)
    inputs = Inputs(batch.pad([sample], 0, side="left")).to(assistant.device)
    prompt = model.embed(inputs["input_ids"], inputs["slots"], inputs["streams"])  # [1, S, D]
    longest = max(map(len, ids))
    padded = torch.stack([pad(torch.tensor(each), (0, longest - len(each))) for each in ids]).to(assistant.device)
    told = model.get_input_embeddings()(padded)  # [K, M, D]
    there = torch.stack([torch.arange(longest) < len(each) for each in ids]).to(assistant.device)
    mask = torch.cat([torch.ones(len(ids), prompt.shape[1], dtype=torch.bool, device=there.device), there], dim=1)
    embeddings = torch.cat([prompt.expand(len(ids), -1, -1), told], dim=1)
    scores = model.language_model(
        inputs_embeds=embeddings, attention_mask=mask.long(), logits_to_keep=longest + 1, use_cache=False
    ).logits[:, :-1]  # [K, M, V]: what stands before a token says how likely it is
    each = log_softmax(scores.float(), dim=-1).gather(-1, padded[..., None])[..., 0]
    shares = torch.where(there, each, 0.0).sum(dim=1).softmax(dim=0).tolist()
    return dict(zip(answers, shares, strict=True))
