"""For development and tests only; in no wheel and in no image."""
