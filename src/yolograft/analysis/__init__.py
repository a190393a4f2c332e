"""Looking into a grafted model: what it costs."""
