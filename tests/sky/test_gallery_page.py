"""The gallery shows what it says: every stamp, its class, its place in the viewer; missing objects by name."""

import numpy as np

from dhs.sky.anchors import AnchorList, slacs_bells
from dhs.sky.gallery_page import gallery_page, viewer_link
from tests.sky.test_anchors import cutouts_of, galaxy


def test_a_gallery_shows_the_galaxies_evenly_with_links_to_their_positions():
    anchors = slacs_bells()
    cutouts = cutouts_of(anchors, [galaxy(18.0)] * 20)
    page = gallery_page(cutouts, listed=None, n_stamps=5, title="Sky")
    assert page.count("<img") == 5
    assert f"ra={anchors.ra_deg[19]:.6f}&amp;dec={anchors.dec_deg[19]:.6f}" in page
    assert "5 of 20 galaxies" in page


def test_a_list_shows_its_own_objects_and_names_those_without_a_cutout():
    anchors = slacs_bells()
    some = AnchorList(**{k: v[:4] if isinstance(v, np.ndarray) else v for k, v in vars(anchors).items()})
    page = gallery_page(cutouts_of(some, [galaxy(18.0)] * 3), listed=some, n_stamps=1, title="List")
    assert page.count("<img") == 3
    assert "3 of 4 objects" in page
    assert str(anchors.name[3]) in page.split("Without a cutout")[1]


def test_a_galaxy_without_a_position_links_to_the_viewer_only():
    assert "nan" not in viewer_link(ra_deg=float("nan"), dec_deg=1.0)
