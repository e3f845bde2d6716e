"""What a token is. Description only: nothing here needs torch."""

from attrs import field, frozen
from attrs.validators import ge


@frozen
class Categorical:
    """Tokens are integers 0 .. size-1. Models see one index more, `size`, for the begin token."""

    size: int = field(validator=ge(1))


@frozen
class Real:
    """Tokens are vectors of `dim` real numbers. Models see one channel more, the begin flag."""

    dim: int = field(validator=ge(1))


Space = Categorical | Real
