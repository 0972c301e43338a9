"""HTTP that ends in time, and what an address says of where it leads."""
