"""Several `Encoded` -> one batch of tensors.

Axes: B batch, S sequence, N tower tokens of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from llava_ecg.data.encode import IGNORE, Encoded
from llava_ecg.streams import NEWLINE, Prepared


def pad(samples: Sequence[Encoded], pad_id: int, side: Literal["right", "left"] = "right") -> dict[str, Any]:
    """A padded batch, as keyword arguments of the model.

    Returns:
        input_ids, labels, position_ids int64 [B, S]; attention_mask bool [B, S]; slots int8 [B, S]; streams: name ->
        {values [n, ...], index int64 [N]}, without the streams that no sample has.
    """
    length = max(map(len, samples))

    def rows(name: str, fill: int) -> torch.Tensor:
        columns = [getattr(sample, name) for sample in samples]
        out = columns[0].new_full((len(columns), length), fill)
        for row, column in zip(out, columns, strict=True):
            if side == "right":
                row[: len(column)] = column
            else:
                row[length - len(column) :] = column
        return out

    lengths = torch.tensor([len(sample) for sample in samples])[:, None]
    position = torch.arange(length)[None]
    mask = position < lengths if side == "right" else position >= length - lengths
    return {
        "input_ids": rows("ids", pad_id),
        "labels": rows("labels", IGNORE),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1) * mask,
        "slots": rows("slots", 0),
        "streams": join_streams(samples),
    }


def pack(samples: Sequence[Encoded]) -> dict[str, Any]:
    """Samples one behind the other in one row, as keyword arguments of the model.

    Returns:
        input_ids, labels, position_ids int64 [1, S], positions counted anew in each sample, and no label at its first
        place, which nothing in it predicts; slots int8 [1, S]; streams as those of `pad`; segments int32 [n + 1], where
        each sample begins, and S; longest, the length of the longest sample.
    """
    lengths = [len(sample) for sample in samples]
    labels = torch.cat([sample.labels for sample in samples])
    segments = torch.tensor([0, *lengths]).cumsum(0)
    labels[segments[:-1]] = IGNORE
    return {
        "input_ids": torch.cat([sample.ids for sample in samples])[None],
        "labels": labels[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "slots": torch.cat([sample.slots for sample in samples])[None],
        "streams": join_streams(samples),
        "segments": segments.int(),
        "longest": max(lengths),
    }


def counted(batch: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """A batch with what else would be counted on the accelerator, which has to be waited for.

    Args:
        order: the model's streams.

    Returns:
        The batch, and rows int64 [M], which of the B * S places predict a label, targets int64 [M], what they predict;
        in each stream places int64 [N], which of the B * S places its tokens take.
    """
    labels, slots = batch["labels"], batch["slots"].flatten()
    ahead = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORE).flatten()
    rows = torch.nonzero(ahead != IGNORE)[:, 0]
    streams = {
        name: {**given, "places": torch.nonzero(slots == order.index(name) + 1)[:, 0]}
        for name, given in batch["streams"].items()
    }
    return {**batch, "streams": streams, "rows": rows, "targets": ahead[rows]}


def join_streams(samples: Sequence[Encoded]) -> dict[str, dict[str, torch.Tensor]]:
    """The streams of all samples, one behind the other, their indices moved to where their values now lie."""
    out: dict[str, dict[str, torch.Tensor]] = {}
    for name in samples[0].streams:
        prepared: list[Prepared] = [item for sample in samples for item in sample.streams[name]]
        if not prepared:
            continue
        offset, indices = 0, []
        for item in prepared:
            indices.append(torch.where(item.index == NEWLINE, item.index, item.index + offset))
            offset += item.values.shape[0] * item.tokens
        out[name] = {"values": torch.cat([item.values for item in prepared]), "index": torch.cat(indices)}
    return out
