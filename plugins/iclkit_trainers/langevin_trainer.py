"""Noisy gradient descent whose path has an exact likelihood ratio against a path that sees only a subset J.

An update is

    theta' = theta - eta (g_S(theta) + weight_decay theta) + S xi,      S^2 = 2 eta / beta,  xi ~ N(0, I),

g_S the gradient of the mean loss on the data. The prior's kernel is the same with g_J, that on the subset, at the
same theta. With rho = -eta (g_S - g_J) / S the prior sees xi + rho where xi was drawn, so that

    ln dQ/dP (path) = sum over steps of |rho|^2 / 2 + <rho, xi>,

exactly, for any loss, step size and number of steps; its expectation is the KL divergence, sum |rho|^2 / 2 =
sum beta eta / 4 |g_S - g_J|^2 (Negrea et al., NeurIPS 2019; for one path see Theorem 6.1 of Luo, Luo and Li, 2022).
All of it is computed in float64, and the update as theta - eta (g_J + weight_decay theta) + S (xi + rho): the rounding
of the weights to float32 afterwards is one map for both laws and leaves the ratio valid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from iclkit.api import Job, Snapshot
from iclkit_trainers.accelerator import fresh_accelerator
from iclkit_trainers.configs import LangevinConfig
from iclkit_trainers.gradients import Gradient, Part, flat, subset
from iclkit_trainers.loop import Loop
from iclkit_trainers.noise import Noise, draws
from iclkit_trainers.schedules import learning_rate

COLUMNS: Mapping[str, type[np.floating]] = {
    "learning_rate": np.float64,
    "gradient_norm": np.float64,
    "noise_scale": np.float64,  # S
    "step_kl": np.float64,  # |rho|^2 / 2 of the update, nats
    "step_noise": np.float64,  # <rho, xi> of the update, nats
    "path_kl": np.float64,  # their sums over all updates up to this one, whether recorded or not
    "path_noise": np.float64,
}


class LangevinTrainer:
    """Descend with noise and keep the books of the path; implements `Trainer`.

    Its history holds what `COLUMNS` names. The sums of the path to a snapshot at step s are in the record of step
    s - 1, the update that led there, which is always made.

    Parameters
    ----------
    config : all that is told in `[trainer]`.

    """

    def __init__(self, config: LangevinConfig):
        self.config = config

    def fit(self, job: Job) -> Iterator[Snapshot]:
        """Train, yielding snapshots; one training at a time per process.

        Raises TrainingDiverged where loss or weights are not finite, ConfigError where the batch cannot be split
        over the processes or "full" is asked of data without end.
        """
        with fresh_accelerator("float32") as accelerator:
            yield from _Descent(self.config, job, accelerator).run()


class _Descent(Loop):
    """One job, its data S and J, and the sums over the path."""

    def __init__(self, config: LangevinConfig, job: Job, accelerator: Accelerator):
        self.config = config
        size, whole = (0, math.inf) if config.batch_size == "full" else (config.batch_size,) * 2
        self.data = Part(job, job.data, accelerator, size=size, whole=whole)
        part = subset(job, config.subset_topics, config.subset_sequences)
        self.subset = None if part is None else Part(job, part, accelerator, size=size, whole=whole)
        super().__init__(
            job,
            accelerator,
            steps=config.steps,
            tokens=self.data.sequences * job.length,
            snapshots=config.snapshots,
            resolution=config.resolution,
            columns=COLUMNS,
        )
        if job.start is not None:
            job.module.load_state_dict(job.start)
        job.module.to(accelerator.device).train()
        self.parameters = [p for p in job.module.parameters() if p.requires_grad]
        self.noise = Noise(job.key, sum(p.numel() for p in self.parameters), accelerator.device)
        self.random = draws(job.module)
        self.path = torch.zeros(2, dtype=torch.float64, device=accelerator.device)  # sums of KL and noise, nats

    def is_recorded(self, step: int) -> bool:
        """Tell whether there is a record of an update; the one before a snapshot always has one."""
        return super().is_recorded(step) or step + 1 in self.snapshots

    def update(self, step: int) -> None:
        """Make the update that follows `step` updates."""
        config = self.config
        rate = learning_rate(
            step, steps=config.steps, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup
        )
        scale = math.sqrt(2 * rate / config.beta)
        found = self.gradient(self.data, step)
        prior = found if self.subset is None else self.gradient(self.subset, step)
        rho = (found.values - prior.values) * (-rate / scale)
        noise = self.noise.at(step)
        terms = torch.stack((rho.dot(rho) / 2, rho.dot(noise)))
        self.path = self.path + terms
        now = flat(self.parameters)
        self.put(now - rate * (prior.values + config.weight_decay * now) + scale * (noise + rho))
        if self.is_recorded(step):
            self.history.record(
                step,
                found.sums,
                learning_rate=rate,
                gradient_norm=torch.linalg.vector_norm(found.values),
                noise_scale=scale,
                step_kl=terms[0],
                step_noise=terms[1],
                path_kl=self.path[0],
                path_noise=self.path[1],
            )
        self.history.watch(found.loss)

    def gradient(self, part: Part, step: int) -> Gradient:
        """Return the gradient on a part; what the module draws is the same for every part."""
        if self.random:
            self.job.seed(step)
        return part.gradient(step)

    def put(self, values: Tensor) -> None:
        """Set the weights, rounding once."""
        pieces = values.split([p.numel() for p in self.parameters])
        with torch.no_grad():
            for parameter, piece in zip(self.parameters, pieces, strict=True):
                parameter.copy_(piece.view_as(parameter))

    def pack(self) -> dict[str, Tensor]:
        """Return the sums over the path."""
        return {"path": self.path}

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.path = state["path"].to(self.path.device)
