"""Sky: cutouts of real or mock galaxies, and the split of the sky into train, val and test."""
