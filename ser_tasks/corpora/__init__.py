"""Readers of the corpora's layouts, and the makers of synthetic demo corpora."""
