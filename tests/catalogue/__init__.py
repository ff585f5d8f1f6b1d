"""The catalogue of bad inputs: what users really type, and what they must get."""
