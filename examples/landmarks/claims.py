"""What the experiments of this folder claim, measured on their cubes."""

from findings import Experiment

EXPERIMENTS: list[Experiment] = []
