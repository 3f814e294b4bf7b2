"""Reports of a run while it trains: log, sheets, curves and scores."""
