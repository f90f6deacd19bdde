"""What every process has: settings, telemetry, health, and how late its loop is."""
