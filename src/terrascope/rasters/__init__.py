"""From files to observations and scenes, and from masks back to files."""
