"""The same model in PyTorch, as a peer for the benchmark; needs `pip install -e ".[bench]"`.

Written from the paper's description. `released` builds L = C diag(sigma) for every example, as a
batch of d x d matrices, and takes their determinants as the released algorithm does; `cheap KL`
uses one determinant of C for all.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HIDDEN = 500


class Autoencoder(nn.Module):
    """VAE, or MVAE with C; forward returns the batch's mean negative ELBO in nats."""

    def __init__(self, pixels: int, latent_size: int, coupled: bool, per_example: bool) -> None:
        super().__init__()
        self.per_example = per_example
        self.encoder = nn.Linear(pixels, HIDDEN)
        self.mean = nn.Linear(HIDDEN, latent_size)
        self.log_variance = nn.Linear(HIDDEN, latent_size)
        self.decoder = nn.Linear(latent_size, HIDDEN)
        self.pixels = nn.Linear(HIDDEN, pixels)
        bound = latent_size**-0.5
        c = torch.empty(latent_size, latent_size).uniform_(-bound, bound)
        self.coupling = nn.Parameter(c) if coupled else None

    def forward(self, x: Tensor) -> Tensor:
        """Return -ELBO, averaged over the batch."""
        hidden = torch.tanh(self.encoder(x))
        loc, log_variance = self.mean(hidden), self.log_variance(hidden)
        scale = torch.exp(0.5 * log_variance)
        noise = torch.randn_like(scale)
        if self.coupling is None:
            z, trace, log_det = loc + scale * noise, (scale**2).sum(-1), log_variance.sum(-1)
        elif self.per_example:
            loc = loc @ self.coupling.T
            factor = self.coupling * scale[:, None, :]
            z = loc + (factor @ noise[..., None]).squeeze(-1)
            trace = (factor @ factor.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
            log_det = 2 * torch.linalg.slogdet(factor)[1]
        else:
            loc = loc @ self.coupling.T
            z = loc + (scale * noise) @ self.coupling.T
            trace = (scale**2) @ (self.coupling**2).sum(0)
            log_det = 2 * torch.linalg.slogdet(self.coupling)[1] + log_variance.sum(-1)
        kl = 0.5 * (trace + (loc**2).sum(-1) - z.shape[-1] - log_det)
        logits = self.pixels(torch.tanh(self.decoder(z)))
        bce = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return (bce + kl).mean()


def peers(
    latent_size: int, images: np.ndarray, batch: int
) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield name, model and a function that trains for an epoch, eager and compiled."""
    torch._dynamo.reset()  # its limit of programs is for all sizes together; beyond, it is eager
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # on a GPU TF32, as JAX does by default
    data = torch.as_tensor(images.reshape(len(images), -1), device=device)
    kinds = (("vae", False, False), ("mvae", True, True), ("mvae", True, False))
    for model, coupled, per_example in kinds:
        for compiled in (False, True):
            network: Any = Autoencoder(data.shape[1], latent_size, coupled, per_example).to(device)
            optimizer = torch.optim.AdamW(
                network.parameters(), lr=1e-3, weight_decay=1e-2, fused=True
            )
            if compiled:
                network = torch.compile(network)
                try:
                    network(data[:batch].float() / 255).backward()
                except Exception as error:  # no compiler on this machine, or an operation it lacks
                    print(f"torch.compile: {type(error).__name__}: {error}", file=sys.stderr)
                    continue
            how = "compiled" if compiled else "eager"
            algorithm = "" if model == "vae" else ", released" if per_example else ", cheap KL"
            name = f"torch {how}{algorithm}"
            yield name, model, _epoch(network, optimizer, data, batch, device)


def _epoch(
    network: Any, optimizer: torch.optim.Optimizer, data: Tensor, batch: int, device: str
) -> Callable[[], None]:
    def go() -> None:
        for indices in torch.randperm(len(data), device=device).split(batch):
            loss = network(data[indices].float() / 255)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return go
