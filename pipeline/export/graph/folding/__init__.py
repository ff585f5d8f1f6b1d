"""From a flat graph to one that a person can read: groups of nodes become functions."""
