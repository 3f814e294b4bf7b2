"""What every page is made of: templates, one style sheet, tables, charts and axes."""
