"""Training: recipes, loss, loop, checkpoints, and the reports that show how it went."""
