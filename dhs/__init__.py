"""Dark Halo Scope: train and honestly test CNN finders of galaxy-galaxy strong lenses in DR10."""

__version__ = "0.1.0"
