"""What the commands share: configurations, names of policies and environments."""
