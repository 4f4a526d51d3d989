"""What trains a chain on its ranks."""
