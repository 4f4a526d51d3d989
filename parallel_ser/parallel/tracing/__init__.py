"""What ranks sent and did, on one clock."""
