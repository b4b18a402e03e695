"""A really trained finder that is small enough for a test: three convolutions on the middle of the stamp."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from dhs.config.root import TrainConfig
from dhs.evaluate.gates.interventions import Planes, shuffle_rings
from dhs.inject.injector import Injector
from dhs.inject.supply import Galaxies
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker

CROP_PX = 36


class Tiny(nn.Module):
    """(B, C, N, N) -> (B,) logits, from mean and maximum of the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(48, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cut = (image.shape[-1] - CROP_PX) // 2
        found = self.features(image[..., cut:-cut, cut:-cut])
        return self.head(torch.cat([found.mean((2, 3)), found.amax((2, 3))], dim=1)).squeeze(1)


class TinyFinder:
    """`dhs.train.finder.Finder` of a `Tiny`."""

    def __init__(self, config: TrainConfig, network: Tiny) -> None:
        self.config, self.network = config, network.eval()

    def maker(self, cutouts: Galaxies) -> BatchMaker:
        return BatchMaker(cutouts, preprocess_config=self.config.preprocess, augment_config=None, metadata=())

    @torch.inference_mode()
    def logits(self, batch: dict[str, Any]) -> np.ndarray:
        return self.network(batch["image"]).double().numpy()


def train(injector: Injector, config: TrainConfig, *, n_stamps: int, epochs: int, batch_size: int = 50) -> TinyFinder:
    """A finder trained on the first ``n_stamps`` of the training stream, turned and moved at random in every step.

    Stamps with bands exchanged and with shuffled rings are negatives beside the galaxies, as a real sky has blue
    galaxies and loose light.
    """
    torch.manual_seed(1)
    maker = BatchMaker(injector.cutouts, preprocess_config=config.preprocess, augment_config=None, metadata=())
    stamps = injector.stamps(np.arange(n_stamps), purpose=Purpose.TRAIN)
    blue, scattered = (stamps.take(np.arange(n_stamps // 5) + i * n_stamps // 5) for i in range(2))
    blue = replace(blue, images=blue.images.flip(1), good=blue.good.flip(1))
    loose = shuffle_rings(Planes(scattered.images, scattered.good), keys=scattered.recipes.key)
    batches = [maker(stamps), maker(blue), maker(replace(scattered, images=loose.images, good=loose.good))]
    image = torch.cat([batch["image"] for batch in batches])
    label = torch.cat([batches[0]["label"], torch.zeros(len(blue) + len(scattered))])
    network = Tiny(image.shape[1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * (len(label) // batch_size))
    for _ in range(epochs):
        for rows in torch.randperm(len(label)).split(batch_size)[: len(label) // batch_size]:
            turns, mirrored, *shift = torch.randint(4, (4,)).tolist()
            views = torch.rot90(image[rows], turns, dims=(-2, -1)).roll([s - 2 for s in shift], dims=(-2, -1))
            logits = network(views.flip(-1) if mirrored % 2 else views)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return TinyFinder(config, network)
