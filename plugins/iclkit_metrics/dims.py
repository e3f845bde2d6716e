"""The dims that metrics' variables share, in order."""

STEPS = ("step", "split", "position")
STEP_SPLIT = ("step", "split")
REFERENCES = ("reference", "split", "position")
