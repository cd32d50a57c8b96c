"""What a run on several hosts is started with: manifests for Kubernetes, a batch script for Slurm."""
