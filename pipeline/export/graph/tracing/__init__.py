"""From a torch model to a flat graph in which everything has torch's own names."""
