"""What the three programs do, in order: the only room that sees all the others."""
