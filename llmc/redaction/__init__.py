"""What comes from others, made safe: keys and secrets blotted out, control characters shown."""
