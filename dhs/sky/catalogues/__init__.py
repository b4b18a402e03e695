"""Tables of confirmed lenses that come with the package; README.md beside them names their sources."""
