"""Hardware in the loop: the agent and a robot as separate processes, and what their latency is."""
