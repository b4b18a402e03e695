"""Where a finder finds its evidence: occlusion maps."""
