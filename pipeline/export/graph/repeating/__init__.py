"""Blocks that repeat are traced twice and written as often as the model has them."""
