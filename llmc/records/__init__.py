"""The account of a run: JSON lines that several processes may write, and their audit."""
