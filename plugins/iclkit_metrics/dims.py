"""The dims that metrics' variables share, in order."""

STEPS = ("step", "split", "position")
REFERENCES = ("reference", "split", "position")
