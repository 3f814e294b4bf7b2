"""What pages share: markup, charts and axes."""
