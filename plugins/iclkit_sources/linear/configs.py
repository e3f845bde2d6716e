"""The keys of the sources of real vectors: linear dynamical systems, and prompts of linear regression."""

import math
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from iclkit.api import Drawn, Facts, Real, SourceSpec, option
from iclkit_sources.checks import Problem


@frozen(kw_only=True)
class Lds:
    """Linear dynamical systems x_{t+1} = x_t W + noise * N(0, I); each W is a topic (arXiv 2301.07067).

    States are row vectors. Seen are the states, or y_t = x_t C with C ~ N(0, 1) / sqrt(observed), drawn with the
    topic. The paper's own setting is dimension 20, observed 4, draw "scaled", noise 0.1, 41 tokens.
    """

    dimension: int = option("number of state variables", default=3, at_least=1)
    observed: int | None = option("number of observed combinations of them; the state itself if absent", default=None)
    draw: Literal["orthogonal", "gaussian", "scaled"] = option(
        "W is radius x a uniformly random rotation or reflection, N(0, tau^2) entries, or those scaled to the radius",
        default="orthogonal",
    )
    radius: float = option(
        "spectral radius of W, exactly; draw = gaussian has it about, unless tau is given", default=0.9, above=0
    )
    tau: float | None = option(
        "standard deviation of the entries of W (draw = gaussian); radius / sqrt(dimension) if absent",
        default=None,
        above=0,
    )
    noise: float = option("standard deviation of the noise of each state variable", default=1.0, above=0)
    start: Literal["zero", "stationary"] = option(
        "x_0 = 0, so that the first token is noise alone, or x_0 drawn from the stationary distribution",
        default="zero",
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.observed is not None and not 1 <= self.observed <= self.dimension:
            yield "observed", f"must be 1 to dimension = {self.dimension}, not {self.observed}"
        if self.tau is not None and self.draw != "gaussian":
            yield "tau", 'belongs to draw = "gaussian"; the other draws have a radius'
        if self.start == "stationary":
            if self.draw == "gaussian":
                yield "start", 'must be "zero" for draw = "gaussian", which may have no stationary distribution'
            elif self.radius >= 1:
                yield "radius", f'must be below 1 for start = "stationary", not {self.radius:.12g}'

    @property
    def entry_scale(self) -> float:
        """The standard deviation of the entries of a Gaussian W."""
        return self.radius / math.sqrt(self.dimension) if self.tau is None else self.tau


def lds_facts(config: Lds) -> Facts:
    """Topics are drawn. The population is known where W is Gaussian and seen directly."""
    conjugate = config.draw == "gaussian" and config.observed is None
    dim = config.observed or config.dimension
    return Facts(
        space=Real(dim),
        topics=Drawn(),
        references=("oracle", "mixture", "population") if conjugate else ("oracle", "mixture"),
        noise=config.noise * math.sqrt(config.dimension / dim),  # E C^T C = dimension / observed
    )


@frozen(kw_only=True)
class LinearRegression:
    """Prompts x_1, y_1, x_2, y_2, ... with y = x w + noise, x ~ N(0, I); each w ~ N(0, I) is a topic.

    Tokens have dimension + 1 channels. An input is (x, 0), an answer (y, 0, .., 0, 1): the last channel tells which.
    Odd positions l are inputs and not scored; even ones are answers, predicted after l / 2 - 1 shots; only the first
    channel is predicted.
    """

    dimension: int = option("number of inputs x", default=4, at_least=1)
    noise: float = option("standard deviation of the noise of the answers", default=0.5, above=0)


def linear_regression_facts(config: LinearRegression) -> Facts:
    """Topics are drawn; every reference exists."""
    return Facts(space=Real(config.dimension + 1, 1), topics=Drawn(), noise=config.noise)


SPECS = (
    SourceSpec(
        name="lds",
        summary="Linear dynamical systems, fully or partially observed.",
        config=Lds,
        build="iclkit_sources.linear.systems:build",
        facts=lds_facts,
    ),
    SourceSpec(
        name="linear-regression",
        summary="Prompts of linear regression: x and y in turn, y to be predicted.",
        config=LinearRegression,
        build="iclkit_sources.linear.prompts:build",
        facts=linear_regression_facts,
    ),
)
