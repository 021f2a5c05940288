"""CLEVR's world, traced ray by ray: objects, where they stand, their materials, lamps, ground and camera."""
