"""Measurements that tests run small and `scripts/reliability` runs in full size."""
