"""System tests: real processes, real kubectl, members that are simulated (`tests.real` has real ones)."""
