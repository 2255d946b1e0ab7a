"""One module a step: reads the folders of its inputs, calls the rooms below, writes its own folder. Nothing else."""
