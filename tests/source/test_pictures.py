"""The FITS reader of the picture files, held to astropy."""

import numpy as np
import pytest
from astropy.io import fits

from dhs.source.pictures import DamagedPicture, OpenPictures, PictureFile


def test_every_hdu_is_what_astropy_reads(catalog_dir):
    for name in ("real_galaxy_images.fits", "real_galaxy_PSF_images.fits"):
        ours = PictureFile(catalog_dir / name)
        with fits.open(catalog_dir / name) as theirs:
            for number in (99, 0, 50, 17):
                np.testing.assert_array_equal(ours[number], theirs[number].data)
        ours.close()


def test_other_kinds_of_hdu_are_stepped_over(tmp_path):
    image = np.arange(12.0).reshape(3, 4)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "PD()", array=np.array([np.ones(1000), np.ones(9)], object))]
    )
    scaled = fits.ImageHDU(image.astype(np.int16))
    hdus = [fits.PrimaryHDU(), table, scaled, fits.ImageHDU(image), fits.ImageHDU(image.astype(np.float32) + 1)]
    fits.HDUList(hdus).writeto(tmp_path / "mixed.fits")
    file = PictureFile(tmp_path / "mixed.fits")
    np.testing.assert_array_equal(file[3], image)
    np.testing.assert_array_equal(file[4], image + 1)
    for number in (0, 1, 2):
        with pytest.raises(DamagedPicture, match=f"HDU {number} is no plain"):
            file[number]
    with pytest.raises(DamagedPicture, match="only 5 HDUs"):
        file[5]
    file.close()


@pytest.mark.parametrize(
    ("n_bytes", "message"),
    [
        (1000, "header of HDU 0 is truncated"),
        (8640, "the file has only 1 HDUs"),
        (9000, "header of HDU 1 is truncated"),
        (15_000, "HDU 1 is truncated"),
    ],
)
def test_a_truncated_file_says_so(tmp_path, n_bytes, message):
    images = [fits.PrimaryHDU(np.ones((30, 20))), fits.ImageHDU(np.ones((30, 20)))]
    fits.HDUList(images).writeto(tmp_path / "whole.fits")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "whole.fits").read_bytes()[:n_bytes])
    file = PictureFile(tmp_path / "cut.fits")
    with pytest.raises(DamagedPicture, match=message):
        file[1]
    file.close()


def test_a_file_that_is_no_fits_says_so(tmp_path):
    (tmp_path / "text.fits").write_bytes(b"END".ljust(2880))
    file = PictureFile(tmp_path / "text.fits")
    with pytest.raises(DamagedPicture, match="no FITS header"):
        file[0]
    file.close()


def test_one_file_is_open_at_a_time_and_opened_once_for_its_galaxies(tmp_path, monkeypatch):
    for name in "ab":
        fits.HDUList(
            [
                fits.PrimaryHDU(np.full((4, 4), float(k))) if k == 0 else fits.ImageHDU(np.full((4, 4), float(k)))
                for k in range(3)
            ]
        ).writeto(tmp_path / f"{name}.fits")
    opened = []
    plain = PictureFile.__init__
    monkeypatch.setattr(PictureFile, "__init__", lambda self, path: (opened.append(path.name), plain(self, path))[1])
    pictures = OpenPictures(tmp_path)
    for name, hdu in (("a.fits", 2), ("a.fits", 0), ("a.fits", 1), ("b.fits", 1)):
        before = pictures._open
        assert pictures.read(name, hdu=hdu)[0, 0] == hdu
        assert before is None or before is pictures._open or before._file.closed
    assert opened == ["a.fits", "b.fits"]
    pictures.close()
