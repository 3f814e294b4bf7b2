"""What a run writes while it trains: log, sheets, curves, scores."""
