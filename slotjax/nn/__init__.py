"""The parts of Slot Attention models: the maths as pure functions, linen modules only to own parameters."""
