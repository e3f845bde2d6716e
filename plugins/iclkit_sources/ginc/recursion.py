"""The recursion of GINC filters over the live states of the tokens.

A belief is scaled at every step, and topics are compared by their log-evidence; no probability is floored. Where a
topic rules a history out its belief is 0 and its evidence -inf.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from iclkit_sources.ginc.laws import Law, sources
from iclkit_sources.ginc.live import LiveStates, Pairs, Slots

_CELLS = 1 << 20  # slots times topics, and pairs, that are looked at together
_PIECE = 1 << 17  # pairs times topics whose moves are made together
_SMALLEST = 5e-324
_LOWEST = torch.finfo(torch.float64).min


class Recursion:
    """Filters some sequences, a window of time after the other.

    Parameters
    ----------
    law : what the sequences may follow, K topics.
    log_prior : ln of the weights of the topics, float64 (K,).
    tokens : int64 tensor (B, T).

    """

    def __init__(self, law: Law, log_prior: Tensor, tokens: Tensor):
        self._law, self._log_prior = law, log_prior
        self._tokens = tokens.T.contiguous()  # (T, B)
        self._live = LiveStates.of(law.topics.memory, law.topics.symbols)

    def run(self, log_probs: Tensor | None, beliefs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the tokens' log-probabilities (B, T) and the topics' log-posterior (B, K).

        Fill `log_probs` (B, T, V) with those of all tokens, and `beliefs` (B, T, E * P), where they are given.
        """
        length, size = self._tokens.shape
        found = torch.empty(length, size, dtype=torch.float64, device=self._tokens.device)
        evidence = self._log_prior.expand(size, -1)  # ln Pr(topic | tokens so far)
        if log_probs is not None:
            first = _sum_by_token(self._law, torch.einsum("k,bks->bs", self._log_prior.exp(), self._law.first()))
            log_probs[:, 0] = first.log()
        carried: Tensor | None = None  # the belief after the token before the window
        for begin, end in self._windows():
            old = int(begin > 0)  # how many steps of the window belong to the one before
            tokens = self._tokens[begin - old : end]
            slots = Slots.of(self._live, tokens)
            belief, chance = self._follow(slots, carried)
            each = chance[old:].log_()
            best = each.amax(2, keepdim=True).clamp_(min=_LOWEST)  # sums of differences from it stay small
            steps = torch.cat([evidence[None], each.sub_(best)]).cumsum(0)  # (t + 1, B, K)
            total = torch.logsumexp(steps, dim=2)
            found[begin:end] = total.diff(dim=0) + best[..., 0]  # NaN is -inf minus -inf: no history is left
            posterior = steps.sub_(total[..., None])[1:]
            evidence, carried = posterior[-1], belief[slots.step(len(tokens) - 1)]
            ahead = min(end, length - 1) - begin  # steps whose next token is among the sequences' tokens
            if log_probs is not None and ahead:
                part = slice(old, old + ahead)
                self._predict(tokens, slots, belief, posterior.exp(), part, log_probs, begin + 1)
            if beliefs is not None:
                step = _steps_of(slots)
                new = step >= old
                beliefs[slots.sequence[new], step[new] + begin - old, slots.state[new]] = belief[new, 0]
        if log_probs is not None:  # what was seen is known in log space, beyond the reach of a float64 probability
            log_probs.scatter_(-1, self._tokens.T[..., None], found.T[..., None])
        return found.T, evidence

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Cut time so that a window has few slots times topics, and few pairs."""
        length, size = self._tokens.shape
        slots = self._live.count[self._tokens].double()
        cells = size * max(float(slots.mean()) * len(self._log_prior), float(slots.square().mean()), 1.0)
        steps = max(1, int(_CELLS / cells))
        return ((begin, min(begin + steps, length)) for begin in range(0, length, steps))

    def _follow(self, slots: Slots, belief_before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the beliefs of all slots (S, K), scaled, and Pr(token | tokens before, topic) by step (t, B, K)."""
        width = len(self._log_prior)
        belief = torch.zeros(len(slots.state), width, dtype=torch.float64, device=slots.state.device)
        chance = belief.new_zeros(*slots.count.shape, width)
        here = slots.step(0)
        if belief_before is None:
            first = self._law.first()
            row = slots.sequence[here] if len(first) > 1 else torch.zeros_like(slots.sequence[here])
            belief[here] = first[row, :, slots.state[here]]
            _scale(belief[here], slots.sequence[here], chance[0])
        else:
            belief[here] = belief_before
        if len(slots.ends) == 1:
            return belief, chance
        pairs, before, after = Pairs.of(slots), sources(self._law.topics, slots), self._law.after(slots)
        piece = max(1, _PIECE * len(slots.ends) // (width * max(1, pairs.ends[-1])))
        for first_step in range(1, len(slots.ends), piece):
            last = min(first_step + piece, len(slots.ends)) - 1
            some = slice(pairs.ends[first_step - 1], pairs.ends[last])
            codes = before.index_select(0, pairs.source[some])
            moves = self._law.moves(codes.add_(after.index_select(0, pairs.target[some])))
            for step in range(first_step, last + 1):
                here, way = slots.step(step), pairs.step(step)
                flow = moves[way.start - some.start : way.stop - some.start]
                flow *= belief.index_select(0, pairs.source[way])
                belief.index_add_(0, pairs.target[way], flow)
                _scale(belief[here], slots.sequence[here], chance[step])
        return belief, chance

    def _predict(
        self, tokens: Tensor, slots: Slots, belief: Tensor, posterior: Tensor, steps: slice, into: Tensor, first: int
    ) -> None:
        """Fill into (B, T, V), from position `first` on, with ln Pr(next token) after some steps.

        All sequences with one token are done together.
        """
        seen, weights = tokens[steps].flatten(), posterior[: steps.stop - steps.start].flatten(0, 1)  # (t * B, K)
        order = seen.argsort()  # by token, which makes the slots of one token an array (n, S, K)
        slot, cell = slots.of_cells(order, steps.start)
        joint = belief.index_select(0, slot).mul_(weights.index_select(0, cell))
        step, sequence = order // tokens.shape[1], order % tokens.shape[1]
        place, flat = sequence * into.shape[1] + step + first, into.flatten(0, 1)
        done = done_slots = 0
        for token, count in enumerate(torch.bincount(seen, minlength=into.shape[-1]).tolist()):
            states, rows = self._live.showing(token), slice(done, done + count)
            size = count * len(states)
            if size:
                some = joint[done_slots : done_slots + size].view(count, len(states), -1)
                flat.index_copy_(0, place[rows], _log(self._law.following(states, some, sequence[rows])))
            elif count:
                flat.index_fill_(0, place[rows], torch.nan)  # no state shows this token: no history is left
            done, done_slots = done + count, done_slots + size


def _log(chance: Tensor) -> Tensor:
    """Return logarithms in place; that of 0 is slow where the machine computes it."""
    never = chance == 0
    return chance.masked_fill_(never, 1.0).log_().masked_fill_(never, -torch.inf)


def _scale(belief: Tensor, sequence: Tensor, chance: Tensor) -> None:
    """Divide beliefs (S, K) by their sums over each sequence's slots, which go to chance (B, K); 0 stays 0."""
    chance.index_add_(0, sequence, belief)
    belief /= chance.clamp(min=_SMALLEST).index_select(0, sequence)


def _steps_of(slots: Slots) -> Tensor:
    """Return the step of each slot, int64 (S,)."""
    ends = torch.tensor(slots.ends, device=slots.state.device)
    return torch.searchsorted(ends, torch.arange(len(slots.state), device=ends.device), right=True)


def _sum_by_token(law: Law, states: Tensor) -> Tensor:
    """Return the probabilities of tokens (B, V) from those of states (B, E * P)."""
    tokens = states.new_zeros(len(states), law.topics.symbols)
    return tokens.index_add_(1, law.topics.memory.flatten(), states)
