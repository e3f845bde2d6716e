"""The live states of a token: a GINC token is certain given the state, so it leaves few states possible.

Of E P hidden states only those that show the observed token have positive probability: on average about four of a
hundred, the delimiter's ten among them. Filters keep these alone, in flat lists. A slot is one live state of one
sequence at one step; a pair leads from a slot of the step before to a slot.
"""

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class LiveStates:
    """Which states show which token.

    Parameters
    ----------
    states : int64 tensor (E * P,), all states in order of their tokens.
    first : int64 tensor (V,), where a token's states begin.
    count : int64 tensor (V,), how many it has.

    """

    states: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, memory: Tensor, symbols: int) -> "LiveStates":
        """List the states of every token of a memory matrix, int64 (E, P)."""
        shown = memory.flatten()
        count = torch.bincount(shown, minlength=symbols)
        return cls(shown.argsort(stable=True), count.cumsum(0) - count, count)

    def showing(self, token: int) -> Tensor:
        """Return the states that show a token, int64 (n,)."""
        first = int(self.first[token])
        return self.states[first : first + int(self.count[token])]


@frozen(eq=False)
class Slots:
    """The slots of t steps of B sequences, step by step, and in each sequence by sequence.

    Parameters
    ----------
    state : int64 tensor (S,), the state of each slot.
    sequence : int64 tensor (S,), its sequence, 0 .. B-1.
    count : int64 tensor (t, B), how many slots a sequence has at a step.
    base : int64 tensor (t, B), where they begin.
    ends : where the slots of each step end.

    """

    state: Tensor
    sequence: Tensor
    count: Tensor
    base: Tensor
    ends: list[int]

    @classmethod
    def of(cls, live: LiveStates, tokens: Tensor) -> "Slots":
        """List the slots of tokens, int64 (t, B)."""
        device, count = tokens.device, live.count[tokens]
        ends = count.flatten().cumsum(0)
        total = int(ends[-1])
        base = ends.view_as(count) - count
        shift = _repeat(live.first[tokens] - base, count, total)
        state = live.states.index_select(0, shift.add_(torch.arange(total, device=device)))
        sequence = _repeat(torch.arange(tokens.shape[1], device=device).expand_as(tokens), count, total)
        return cls(state, sequence, count, base, ends.view_as(count)[:, -1].tolist())

    def step(self, step: int) -> slice:
        """Return where the slots of a step are."""
        return slice(self.ends[step - 1] if step else 0, self.ends[step])

    def of_cells(self, cells: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the slots of cells (step, sequence), int64 (n,) counted from a step on, and the cell of each slot."""
        count, base = (each[step:].flatten().index_select(0, cells) for each in (self.count, self.base))
        ends = count.cumsum(0)
        total = int(ends[-1])
        slot = _repeat(base - (ends - count), count, total).add_(torch.arange(total, device=cells.device))
        return slot, _repeat(cells, count, total)


@frozen(eq=False)
class Pairs:
    """The pairs that lead to the steps of some slots, from the second step on, in order of their target.

    Parameters
    ----------
    source, target : int64 tensors (M,), slots.
    ends : where the pairs of each step end; 0 for the first.

    """

    source: Tensor
    target: Tensor
    ends: list[int]

    @classmethod
    def of(cls, slots: Slots) -> "Pairs":
        """List the pairs of slots of consecutive steps."""
        device, (before, here) = slots.count.device, (slots.count[:-1], slots.count[1:])
        total = slots.ends[-1] - slots.ends[0]
        ways = _repeat(before, here, total)  # how many pairs lead to each slot
        ends = ways.cumsum(0)
        pairs = int(ends[-1])
        shift = _repeat(slots.base[:-1], here, total) - (ends - ways)
        source = _repeat(shift, ways, pairs).add_(torch.arange(pairs, device=device))
        target = _repeat(torch.arange(total, device=device) + slots.ends[0], ways, pairs)
        return cls(source, target, [0, *(before * here).sum(1).cumsum(0).tolist()])

    def step(self, step: int) -> slice:
        """Return where the pairs that lead to a step, 1 or later, are."""
        return slice(self.ends[step - 1], self.ends[step])


def _repeat(values: Tensor, times: Tensor, total: int) -> Tensor:
    return torch.repeat_interleave(values.flatten(), times.flatten(), output_size=total)
