"""How the networks are updated, and the progress that is printed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Optimizer:
    """AdamW with a one-cycle schedule of a fixed number of steps, and a line of progress."""

    def __init__(self, modules: Sequence[nn.Module], steps: int, rate: float) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.adam = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.adam, rate, steps)
        self.steps = steps
        self.started = time.perf_counter()

    def step(self, loss: Tensor) -> None:
        """Update the parameters."""
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        self.adam.step()
        self.schedule.step()

    def show(self, step: int, loss: Tensor, right: Tensor) -> None:
        """Print the progress now and then."""
        if step % 100 == 0 or step == self.steps:
            seconds = time.perf_counter() - self.started
            share = right.float().mean().item()
            line = f"step {step:5} loss {loss.item():.4f} right {share:.4f} {seconds:6.1f} s"
            print(line, flush=True)
