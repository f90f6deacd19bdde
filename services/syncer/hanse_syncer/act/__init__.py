"""What is done about one object in one member."""
