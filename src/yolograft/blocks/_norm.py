"""Normalisations that take every map that a host can send, one value per channel included."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchNorm", "GroupNorm"]


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, but a batch of one value per channel is normalised by the running statistics.

    PyTorch refuses to train on such a batch, because its variance is zero. Blocks that normalise globally
    pooled features meet one whenever the batch is 1 (the last batch of an epoch, say), where the host itself
    trains well.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` without PyTorch's look at the size, which warns in traces and refuses single values."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
