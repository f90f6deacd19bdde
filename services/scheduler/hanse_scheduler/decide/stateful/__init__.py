"""What is divided of a StatefulSet besides its replicas: pure functions."""
