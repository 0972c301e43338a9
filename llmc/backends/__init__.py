"""Ways of reaching a model, one file each, and the cascade that asks them in order."""
