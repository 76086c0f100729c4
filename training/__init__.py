"""How the starter model was made: four styles of openly licensed art in, one small Stable Diffusion folder out."""
