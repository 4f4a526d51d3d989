"""What a strategy costs: profiles of blocks and model, models of hardware and memory, partition, planner."""
