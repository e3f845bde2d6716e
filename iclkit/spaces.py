"""What a token is. Description only: nothing here needs torch."""

from attrs import Factory, field, frozen
from attrs.validators import ge


@frozen
class Categorical:
    """Tokens are integers 0 .. size-1. Models see one index more, `size`, for the begin token."""

    size: int = field(validator=ge(1))


@frozen
class Real:
    """Tokens are vectors of `dim` real numbers. Models see one channel more, the begin flag.

    The first `scored` channels are predicted, all unless said otherwise; the others are only read, such as the
    channel that tells inputs from answers.
    """

    dim: int = field(validator=ge(1))
    scored: int = field(default=Factory(lambda self: self.dim, takes_self=True))

    @scored.validator
    def _within(self, attribute: object, value: int) -> None:
        if not 1 <= value <= self.dim:
            raise ValueError(f"scored must be 1 .. dim = {self.dim}, not {value}")


Space = Categorical | Real
