"""What the product runs with: study configs, corpus descriptions and the embedded stack."""
