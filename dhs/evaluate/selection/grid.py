"""The cells of a selection function. numpy alone: whoever reads the published table needs nothing else of dhs.

Einstein radii are points, because completeness changes fast with them; seeing and depth are intervals, because hosts
come with the seeing and depth they have.
"""

from dataclasses import dataclass

import numpy as np

AXES = ("theta_e_arcsec", "psf_fwhm_r_arcsec", "psf_depth_r_mag")
"""In the order of every (T, P, D) array."""


@dataclass(frozen=True)
class SelectionGrid:
    """T Einstein radii x P intervals of r-band seeing x D intervals of r-band depth."""

    theta_e_arcsec: np.ndarray
    """(T,) rising."""
    psf_edges_arcsec: np.ndarray
    """(P + 1,) FWHM."""
    depth_edges_mag: np.ndarray
    """(D + 1,) 5-sigma point-source depth, AB."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.theta_e_arcsec), len(self.psf_edges_arcsec) - 1, len(self.depth_edges_mag) - 1

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(T,), (P,), (D,) where the cells stand for their interval: the middles of seeing and depth."""
        return self.theta_e_arcsec, _middles(self.psf_edges_arcsec), _middles(self.depth_edges_mag)

    def conditions(self, cell: np.ndarray) -> np.ndarray:
        """(N,) number of the seeing and depth of (N,) ``cell`` numbers: 0 to P D - 1, the same for every theta_E."""
        return cell % (self.shape[1] * self.shape[2])

    def theta_place(self, cell: np.ndarray) -> np.ndarray:
        """(N,) place in ``theta_e_arcsec`` of (N,) ``cell`` numbers."""
        return cell // (self.shape[1] * self.shape[2])


def _middles(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[1:] + edges[:-1])
