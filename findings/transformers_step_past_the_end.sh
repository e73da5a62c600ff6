#!/usr/bin/env bash
# Version:  transformers 5.23.0 (torch 2.13.0, accelerate 1.15.0)
# Expected: a run of max_steps=3 that is resumed from the checkpoint of its third step has nothing left to do: whoever gives the same command
#           twice gets the same weights.
# Seen:     where the last step does not end an epoch, the resumed run takes a fourth step and saves checkpoint-4, with other weights: whether
#           the run should stop is asked only behind a step.
# Output:
#   first run: step 3 of 3, ['checkpoint-3']
#   resumed from its end: step 4 of 3, ['checkpoint-3', 'checkpoint-4']
#   the weights are the same: False
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 numpy==2.4.6 ||
  { echo "could not install the packages"; exit 2; }
venv/bin/python - 2>/dev/null <<'PY'
import os

import torch
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments


class Config(PretrainedConfig):
    model_type = "one-line"


class Line(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.line = torch.nn.Linear(2, 1)
        self.post_init()

    def forward(self, x=None, labels=None):
        guess = self.line(x)
        return {"loss": (guess - labels).square().mean(), "logits": guess}


rng = torch.Generator().manual_seed(0)
data = [{"x": torch.randn(2, generator=rng), "labels": torch.randn(1, generator=rng)} for _ in range(8)]


def run(resume):
    torch.manual_seed(0)
    settings = TrainingArguments(
        "out", max_steps=3, per_device_train_batch_size=4, save_strategy="steps", save_steps=3, report_to="none",
        lr_scheduler_type="constant", learning_rate=0.1, use_cpu=True, disable_tqdm=True,
    )
    trainer = Trainer(model=Line(Config()), args=settings, train_dataset=data)
    trainer.train(resume_from_checkpoint=resume)
    return trainer.state.global_step, trainer.model.line.weight.detach().clone()


steps, first = run(None)
print(f"first run: step {steps} of 3, {sorted(os.listdir('out'))}")
more, second = run(True)
print(f"resumed from its end: step {more} of 3, {sorted(os.listdir('out'))}")
same = torch.equal(first, second)
print(f"the weights are the same: {same}")
stated = (steps, more, same) == (3, 4, False)
print("as stated" if stated else "it behaves otherwise now")
raise SystemExit(0 if stated else 1)
PY
