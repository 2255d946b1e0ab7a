"""The store stays clean: what is needed, what can go, what is damaged, where the space is."""
