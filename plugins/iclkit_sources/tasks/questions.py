"""Questions with options: a prompt with each option after it, and which is right."""

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch


@frozen(kw_only=True, eq=False)
class Questions:
    """n questions as m rows, one for each option of each question.

    Parameters
    ----------
    batch : the rows, tokens (m, T): a prompt, an option, then zeros; scored are the option's tokens.
    question : int64 tensor (m,), which question a row is of, ascending.
    right : bool tensor (m,), whether its option is the label.
    option : int64 tensor (m,), the place of its option.
    length : int64 tensor (m,), tokens without the zeros.

    """

    batch: Batch
    question: Tensor
    right: Tensor
    option: Tensor
    length: Tensor

    def __len__(self) -> int:
        return int(self.question[-1]) + 1


def pack(
    rows: Sequence[tuple[list[int], tuple[tuple[int, ...], ...], int]], topics: object, topic: Tensor
) -> Questions:
    """Return questions from (prompt, options, place of the label) each; `topic` (n,) indexes `topics`."""
    whole = [(prompt, told) for prompt, options, _ in rows for told in options]
    length = torch.tensor([len(prompt) + len(told) for prompt, told in whole])
    tokens = torch.zeros(len(whole), int(length.max()), dtype=torch.int64)
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for place, (prompt, told) in enumerate(whole):
        tokens[place, : length[place]] = torch.tensor([*prompt, *told])
        mask[place, len(prompt) : length[place]] = True
    question = torch.tensor([place for place, (_, options, _) in enumerate(rows) for _ in options])
    option = torch.tensor([at for _, options, _ in rows for at in range(len(options))])
    label = torch.tensor([place for _, _, place in rows])
    right = option == label[question]
    batch = Batch(tokens=tokens, mask=mask, topics=topics, topic=topic[question], number=question + 1)
    return Questions(batch=batch, question=question, right=right, option=option, length=length)
