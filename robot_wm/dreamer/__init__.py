"""DreamerV3 (Hafner et al., Nature 2025): world model, actor and critic, and the update that trains them."""
