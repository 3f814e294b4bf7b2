"""Pixels as files: pictures, sheets and videos."""
