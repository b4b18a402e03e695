"""The recipes on an accelerator: the same numbers as on the CPU."""

import numpy as np
import pytest
import torch

from dhs.config.training import AugmentConfig, PreprocessConfig
from dhs.train.augment import draw, move
from dhs.train.counter_noise import normal_noise
from dhs.train.perturb import perturb
from dhs.train.preprocess import preprocess

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the recipes run on the CPU alone here"),
]
EVERYTHING = ("g", "r", "z", "g-r", "g-z", "residual_g", "residual_r", "residual_z")


def stamps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    axis = torch.arange(64) - 31.5
    galaxy = torch.exp(-torch.hypot(axis, axis[:, None]) / 4)
    images = 0.3 * galaxy + 0.003 * torch.randn(16, 3, 64, 64, generator=generator)
    return images, torch.rand(16, 3, 64, 64, generator=generator) < 0.998


def require_equal(gpu: torch.Tensor, cpu: torch.Tensor, *, scale: float) -> None:
    assert (gpu.cpu() - cpu).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("residual", ["azimuthal_mean", "azimuthal_median", "blur"])
@pytest.mark.parametrize("fit", [True, False])
def test_preprocessing_is_that_of_the_cpu(residual, fit):
    images, good = stamps()
    config = PreprocessConfig(channels=EVERYTHING, residual=residual, difference_fit=fit, clip="soft")
    cpu = preprocess(images, good=good, config=config)
    require_equal(preprocess(images.cuda(), good=good.cuda(), config=config), cpu, scale=float(cpu.abs().max()))


def test_augmentation_is_that_of_the_cpu():
    images, good = stamps()
    config = AugmentConfig(
        max_subpixel_shift_px=0.5,
        max_rotation_deg=15,
        max_psf_blur_arcsec=0.8,
        max_depth_loss_mag=0.5,
        core_dropout_probability=0.5,
    )
    draws = draw(np.array([(1, 1, 0, i) for i in range(16)]), config=config)
    outs = []
    for device in ("cpu", "cuda"):
        out, mask = perturb(
            images.to(device), good=good.to(device), draws=draws.to(device), config=config, annulus_inner_fraction=0.5
        )
        outs.append((out, mask, move(out, draws=draws.to(device))))
    require_equal(outs[1][0], outs[0][0], scale=float(images.max()))
    require_equal(outs[1][2], outs[0][2], scale=float(images.max()))
    assert torch.equal(outs[1][1].cpu(), outs[0][1])
    require_equal(
        normal_noise(torch.arange(9).cuda(), shape=(3, 8, 8)), normal_noise(torch.arange(9), shape=(3, 8, 8)), scale=5
    )
