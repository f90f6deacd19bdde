"""The syncer: makes the member clusters have what was placed on them, and says what lives there."""
