"""Topics that are rows of tensors: what most sources need."""

from typing import Any

from torch import Tensor


class TensorTopics:
    """Some topics, each a row of every given tensor; sliced together.

    Parameters
    ----------
    numbers : int64 tensor (K,), the topics' numbers.
    rows : tensors (K, ...) by name; they become attributes.

    """

    def __init__(self, numbers: Tensor, **rows: Tensor):
        self.numbers = numbers
        self._rows = rows

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "TensorTopics":
        return TensorTopics(self.numbers[index], **{name: rows[index] for name, rows in self._rows.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_rows"][name]
        except KeyError:
            raise AttributeError(f"these topics have no {name!r}; they have {', '.join(self._rows)}") from None
