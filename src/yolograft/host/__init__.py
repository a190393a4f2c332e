"""The Ultralytics side."""
