"""GINC topics: the memory matrix all share, and each one's start and transitions, made by address.

The hidden state is entity * P + property, and the joint transition the Kronecker product of the entity matrix and the
property matrix (arXiv 2111.02080); it is never formed.
"""

import torch
from attrs import evolve, frozen
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.ginc.config import Ginc


@frozen(kw_only=True, eq=False)
class GincTopics:
    """K topics of one world.

    Parameters
    ----------
    memory : int64 tensor (E, P), the token of each entity and property; column 0 is the delimiter 0.
    symbols : V, the size of the vocabulary.
    start : float64 tensor (K, E * P), distribution of a document's first state.
    property_moves : float64 tensor (K, P, P), Pr(next property | property) of documents.
    entity_moves : float64 tensor (E, E) shared by all topics, or (K, E, E): Pr(next entity | entity) of documents.
    prompt_property_moves, prompt_entity_moves : the same of prompts; other matrices where documents' are random.
    numbers : int64 tensor (K,), the topics' numbers.

    """

    memory: Tensor
    symbols: int
    start: Tensor
    property_moves: Tensor
    entity_moves: Tensor
    prompt_property_moves: Tensor
    prompt_entity_moves: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "GincTopics":
        return evolve(
            self,
            start=self.start[index],
            property_moves=self.property_moves[index],
            entity_moves=_select(self.entity_moves, index),
            prompt_property_moves=self.prompt_property_moves[index],
            prompt_entity_moves=_select(self.prompt_entity_moves, index),
            numbers=self.numbers[index],
        )

    @property
    def entities(self) -> int:
        """E, how many entities there are."""
        return self.memory.shape[0]

    @property
    def properties(self) -> int:
        """P, how many properties there are."""
        return self.memory.shape[1]

    def to(self, device: torch.device) -> "GincTopics":
        """Return the same topics on a device."""
        names = (
            "memory",
            "start",
            "property_moves",
            "entity_moves",
            "prompt_property_moves",
            "prompt_entity_moves",
            "numbers",
        )
        return evolve(self, **{name: getattr(self, name).to(device) for name in names})

    def leaking(self, leak: float) -> "GincTopics":
        """Return the topics whose entities and properties each go anywhere, evenly, with a probability `leak`."""
        return evolve(
            self,
            property_moves=(1 - leak) * self.property_moves + leak / self.properties,
            entity_moves=(1 - leak) * self.entity_moves + leak / self.entities,
        )

    def prompting(self) -> "GincTopics":
        """Return the topics whose documents follow what these topics' prompts follow."""
        return evolve(self, property_moves=self.prompt_property_moves, entity_moves=self.prompt_entity_moves)


@frozen(kw_only=True, eq=False)
class World:
    """What all topics share: the memory matrix, int64 (E, P), and the entity matrix, float64 (E, E)."""

    memory: Tensor
    entity: Tensor


def make_world(config: Ginc) -> World:
    """Make the world of a config by the address (world_seed, name)."""
    key = Key.root(config.world_seed).fold("ginc-world")
    memory = key.fold("memory").integers(config.symbols - 1, config.entities, config.properties) + 1
    memory[:, 0] = 0
    return World(memory=memory, entity=_entity_matrix(config, key.fold("entity")))


def make_topics(config: Ginc, world: World, numbers: Tensor, key: Key) -> GincTopics:
    """Make the topics of these numbers, int64 (K,); `key` has one state per topic."""
    device = key.states.device
    start = softmax(key.fold("start").uniform(config.states), config.start_temperature)
    prompt_property = _permutation_mixture(config, config.properties, key.fold("property"))
    shared = world.entity.to(device)
    prompt_entity = _entity_matrix(config, key.fold("entity")) if config.topic_entities else shared
    own, entity = prompt_property, prompt_entity
    if config.random_transitions:
        own = _dirichlet_rows(config.properties, key.fold("random-property"))
        entity = _dirichlet_rows(config.entities, key.fold("random-entity"))
    return GincTopics(
        memory=world.memory.to(device),
        symbols=config.symbols,
        start=start,
        property_moves=own,
        entity_moves=entity,
        prompt_property_moves=prompt_property,
        prompt_entity_moves=prompt_entity,
        numbers=numbers.to(device),
    )


def _select(matrices: Tensor, index: slice | Tensor) -> Tensor:
    """Select topics from matrices (K, n, n); a matrix that all share stays."""
    return matrices[index] if matrices.ndim == 3 else matrices


def softmax(uniform: Tensor, temperature: float) -> Tensor:
    """Return the softmax of (U - 1/2) / temperature along the last dim, for draws U in [0, 1)."""
    return ((uniform - 0.5) / temperature).softmax(-1)


def _entity_matrix(config: Ginc, key: Key) -> Tensor:
    """Return (1 - identity) M + identity I for a mixture of permutations M, float64 (..., E, E)."""
    mixed = _permutation_mixture(config, config.entities, key)
    eye = torch.eye(config.entities, dtype=torch.float64, device=mixed.device)
    return (1 - config.identity) * mixed + config.identity * eye


def _permutation_mixture(config: Ginc, size: int, key: Key) -> Tensor:
    """Return sum_j a_j Pi_j over random permutation matrices Pi_j, float64 (..., n, n); fixed points are allowed."""
    count = config.permutations
    weights = softmax(key.fold("weights").uniform(count), config.transition_temperature)  # (..., J)
    image = key.fold("permutations").uniform(count, size).argsort(dim=-1)  # (..., J, n)
    mixed = torch.zeros(*key.states.shape, size, size, dtype=torch.float64, device=weights.device)
    for j in range(count):
        each = weights[..., j, None, None].expand(*key.states.shape, size, 1)
        mixed.scatter_add_(-1, image[..., j, :, None], each)
    return mixed


def _dirichlet_rows(size: int, key: Key) -> Tensor:
    """Return matrices whose rows are uniform on the simplex, float64 (..., n, n)."""
    waits = -torch.log1p(-key.uniform(size, size))
    return waits / waits.sum(-1, keepdim=True)
