"""What a run goes by, and whom it may ask; the only part that reads the environment."""
