"""The limits of a bundle's monitor: calibrated in the simulator, frozen in the manifest."""
