"""Other people's learners on our tasks, and our own beside them: `robot-wm bench baselines`."""
