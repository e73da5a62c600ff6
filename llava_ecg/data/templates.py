"""Chat templates, as values: a conversation becomes spans of text, each trained on or not.

The names and the texts are those that the released checkpoints were trained with (LLaVA's ``conversation.py``), since a
checkpoint answers well only to its own template. ``golden/conversations.json`` holds the original's prompts, ids and
labels for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llava_ecg.data.conversation import MARKER, Turn


class Span(NamedTuple):
    """A piece of a prompt, and whether the loss is taken on its tokens."""

    text: str
    trained: bool


@dataclass(frozen=True)
class Template:
    """How a conversation is written for a language model.

    Attributes:
        system: what stands before everything, in its final form.
        first_user: the first user turn up to where the answer begins; ``{}`` is its text.
        user: every later user turn.
        answer: an answer, trained on; ``{}`` is its text.
        after: what follows an answer and is not trained on.
        stop: the text at which decoding stops.
        question: False where training drops the question and keeps only its markers (LLaVA's projector pre-training).
    """

    system: str
    first_user: str
    user: str
    answer: str
    stop: str
    after: str = ""
    question: bool = True

    def spans(self, turns: Sequence[Turn]) -> list[Span]:
        """The prompt of these turns, in order. A last answer that is absent or empty is left open, for the model to
        write.

        Args:
            turns: alternating, a user's first.
        """
        spans: list[Span] = []
        for number, turn in enumerate(turns):
            if turn.role == "user" and not self.question and number < len(turns) - 1:
                spans.append(Span(MARKER * turn.text.count(MARKER), False))
            elif turn.role == "user":
                pattern = self.user if number else self.system + self.first_user
                before, _, behind = pattern.partition("{}")
                spans.append(Span(before + turn.text + behind, False))
            elif turn.text or not self.question:
                before, _, behind = self.answer.partition("{}")
                spans.append(Span(before + turn.text + behind, True))
                if self.after:
                    spans.append(Span(self.after, False))
        return spans

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The whole text of `spans`."""
        return "".join(span.text for span in self.spans(turns))


def _vicuna(person: str) -> Template:
    return Template(
        system=f"A chat between a curious {person} and an artificial intelligence assistant. "
        f"The assistant gives helpful, detailed, and polite answers to the {person}'s questions. ",
        first_user="USER: {} ASSISTANT:",
        user="USER: {} ASSISTANT:",
        answer=" {}</s>",
        stop="</s>",
    )


def _llama_2(system: str) -> Template:
    return Template(
        system=f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n",
        first_user="{} [/INST]",
        user="<s>[INST] {} [/INST]",
        answer=" {} </s>",
        stop="</s>",
    )


def _chatml(system: str, line: str) -> Template:
    user = f"<|im_start|>user\n{{}}<|im_end|>{line}<|im_start|>assistant\n"
    return Template(
        f"<|im_start|>system\n{system}<|im_end|>{line}", user, user, "{}<|im_end|>", "<|im_end|>", after=line
    )


v1 = vicuna_v1 = _vicuna("user")
llava_v1 = _vicuna("human")
llama_2 = _llama_2(
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering "
    "something not correct. "
    "If you don't know the answer to a question, please don't share false information."
)
llava_llama_2 = _llama_2(
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, "
    "and assist the user with a variety of tasks using natural language."
)
# Of LLaVA-1.6 on Mistral: no system prompt and nothing before a later turn; BOS is the tokenizer's alone.
mistral_instruct = Template(
    system="", first_user="[INST] {} [/INST]", user="[INST] {} [/INST]", answer=" {} </s>", stop="</s>"
)
mpt = _chatml(
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers.",
    line="",
)
chatml_direct = _chatml("Answer the questions.", line="")
qwen_2 = _chatml("You are a helpful assistant.", line="\n")
ecg_chatml = _chatml("You read electrocardiograms and say what they show.", line="\n")
plain = Template(system="", first_user="{}\n", user="{}\n", answer="{}\n", stop="\n", question=False)
