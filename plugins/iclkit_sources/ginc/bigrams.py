"""Which tokens follow which in GINC documents, on average over positions."""

import torch
from torch import Tensor

from iclkit_sources.ginc.topics import GincTopics


def ginc_bigrams(topics: GincTopics, length: int) -> tuple[Tensor, Tensor]:
    """Return the law of the first token (K, V), and of neighbours (K, V, V), averaged over l = 2 .. length."""
    entity = topics.entity_moves.expand(len(topics), -1, -1)  # (K, E, E)
    law = topics.start.view(len(topics), topics.entities, topics.properties)
    shown = torch.nn.functional.one_hot(topics.memory, topics.symbols).to(law.dtype)  # (E, P, V)
    first = law.flatten(1) @ shown.flatten(0, 1)
    total = torch.zeros_like(law)
    for _ in range(max(1, length - 1)):
        total += law
        law = entity.mT @ law @ topics.property_moves
    total /= max(1, length - 1)
    pairs = torch.stack([_pairs(*each, shown) for each in zip(total, entity, topics.property_moves, strict=True)])
    return first, pairs


def _pairs(law: Tensor, entity: Tensor, property_: Tensor, shown: Tensor) -> Tensor:
    """Return Pr(token, next token), float64 (V, V), from the law of the state (E, P) before the move."""
    following = torch.einsum("ef,pq,fqv->epv", entity, property_, shown)  # Pr(next token | state)
    return torch.einsum("ep,epu,epv->uv", law, shown, following)
