"""What makes the README's figures."""
