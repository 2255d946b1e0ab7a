"""What people look at: figures (matplotlib) and the HTML page."""
