"""Normalisation layers that accept every map that a host can give, also one with a single value per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchNorm", "GroupNorm"]


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that uses the running statistics for a training batch with one value per channel.

    PyTorch raises an error for such a batch, because its variance is zero. A block that normalises globally pooled
    features gets one whenever the batch size is 1, for example in the last batch of an epoch. The host itself can train
    on that batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` without PyTorch's check of the size, which warns in traces and raises for single values."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
