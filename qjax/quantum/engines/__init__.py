"""The engines that run a simulation, and the choice among them."""
