"""Self-check: the physics of one configuration against lenstronomy, analytic formulae, and itself."""
