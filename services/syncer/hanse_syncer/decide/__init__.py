"""What is to be done about one object in one cluster: pure functions."""
