"""Video as a model of the world: predict what a camera sees if one acts, and act in it."""
