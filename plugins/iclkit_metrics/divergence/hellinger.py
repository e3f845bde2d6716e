"""The squared Hellinger distance H^2(p, q) = 1 - sum_x sqrt(p(x) q(x)) of distributions of the next token."""

from collections.abc import Callable

import torch
from torch import Tensor

from iclkit.api import CategoricalDistribution, GaussianDistribution

Distribution = CategoricalDistribution | GaussianDistribution


def from_all(each: list[Distribution | None]) -> Callable[[Distribution], Tensor]:
    """Return a function of q that gives H^2(p, q) for every p, float64 (B, T, P), having prepared what p alone tells.

    NaN where p is None or of another kind than q.
    """
    known = [p.probs.sqrt() for p in each if isinstance(p, CategoricalDistribution)]
    roots = torch.stack(known, dim=2) if len(known) == len(each) else None  # (B, T, P, V)

    def distances(q: Distribution) -> Tensor:
        if roots is not None and isinstance(q, CategoricalDistribution):
            return (1 - (roots @ q.probs.sqrt()[..., None]).squeeze(-1)).clamp_(min=0)
        return torch.stack([_one(p, q) for p in each], dim=2)

    return distances


def _one(p: Distribution | None, q: Distribution) -> Tensor:
    if isinstance(p, CategoricalDistribution) and isinstance(q, CategoricalDistribution):
        return (1 - (p.probs.sqrt() * q.probs.sqrt()).sum(-1)).clamp_(min=0)
    if isinstance(p, GaussianDistribution) and isinstance(q, GaussianDistribution):
        return _gaussian(p, q)
    shown = q.probs if isinstance(q, CategoricalDistribution) else q.mean
    return torch.full(shown.shape[:2], torch.nan, dtype=torch.float64)


def _gaussian(p: GaussianDistribution, q: GaussianDistribution) -> Tensor:
    """Return 1 - |S_p|^(1/4) |S_q|^(1/4) / |S|^(1/2) exp(-d' S^-1 d / 8), S = (S_p + S_q) / 2, d = m_p - m_q."""
    lower = [each.scale_tril for each in (p, q)]
    middle = torch.linalg.cholesky(sum(scale @ scale.mT for scale in lower) / 2)
    white = torch.linalg.solve_triangular(middle, (p.mean - q.mean)[..., None], upper=False).squeeze(-1)
    log_det = middle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    overlap = (p.log_det + q.log_det - 2 * log_det) / 2 - white.square().sum(-1) / 8
    return -torch.expm1(overlap)
