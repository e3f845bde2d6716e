"""What a certificate may be about, and which data of a cell speak of it."""

from typing import Literal

from attrs import frozen

Name = Literal["sequences", "topics"]


@frozen(kw_only=True)
class Target:
    """A population loss.

    Parameters
    ----------
    code : how records call it.
    unit : what is drawn independently.
    held : the split of its held-out units.
    fresh : the split that measures it.
    reference : the exact predictor that no other can beat there.
    about : in words.

    """

    code: str
    unit: str
    held: str
    fresh: str
    reference: str
    about: str


TARGETS: dict[str, Target] = {
    "sequences": Target(
        code="seq",
        unit="sequence",
        held="holdout-sequences",
        fresh="sequences",
        reference="mixture",
        about="fresh sequences of the training topics",
    ),
    "topics": Target(
        code="top",
        unit="topic",
        held="holdout-topics",
        fresh="topics",
        reference="population",
        about="fresh topics",
    ),
}
