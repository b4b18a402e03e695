"""The selection function: which lenses a finder finds, by Einstein radius, seeing and depth (docs/selection.md)."""
